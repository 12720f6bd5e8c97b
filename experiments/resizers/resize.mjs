// Reduce an image file by a package of npm, as its users call it:
//     node resize.mjs sharp|pica FILTER whole|fast IN OUT WIDTH HEIGHT        (FILTER: default, or the package's name)
// `npm install --no-save sharp pica` in this folder brings both. sharp shrinks a JPEG file while it decodes it ("fast");
// "whole" hands it the pixels. pica resizes pixels alone, which sharp decodes and codes for it. With the package alone:
// its version. Exit code 127: it is not installed.
async function load(name) {
  try {
    return (await import(name)).default;
  } catch (error) {
    if (error.code !== "ERR_MODULE_NOT_FOUND") throw error;
    console.error(`the package ${name} is not installed: npm install --no-save sharp pica, in experiments/resizers`);
    process.exit(127);
  }
}

const [library, filter, how, source, target, ...size] = process.argv.slice(2);
const [width, height] = size.map(Number);
const sharp = await load("sharp");
const decoded = async (image) => {
  const { data, info } = await image.raw().toBuffer({ resolveWithObject: true });
  return [data, info];
};

if (library === "sharp") {
  const options = { fit: "fill", ...(filter === "default" ? {} : { kernel: filter }) };
  if (!how) {
    console.log(`sharp ${sharp.versions.sharp}, libvips ${sharp.versions.vips}`);
  } else {
    let image = sharp(source);
    if (how === "whole") {
      const [data, raw] = await decoded(image);
      image = sharp(data, { raw });
    }
    await image.resize(width, height, options).png().toFile(target);
  }
} else {
  const pica = await load("pica");
  if (!how) {
    const { createRequire } = await import("node:module");
    const { version } = createRequire(import.meta.url)("pica/package.json");
    console.log(`pica ${version}, sharp ${sharp.versions.sharp}`);
  } else {
    const [src, info] = await decoded(sharp(source).ensureAlpha());
    const options = { src, width: info.width, height: info.height, toWidth: width, toHeight: height };
    if (filter !== "default") options.filter = filter;
    const data = await pica({ features: ["js", "wasm"] }).resizeBuffer(options); // it has no canvas here
    await sharp(data, { raw: { width, height, channels: 4 } }).removeAlpha().png().toFile(target);
  }
}
