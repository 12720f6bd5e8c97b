"""Reduce a JPEG file whole, or shrunk while it is decoded: ``python shrink.py pillow|vips whole|fast IN OUT W H``.

``pillow``: libjpeg's scaled decoding, which is what ``djpeg -scale`` does, then Pillow's Lanczos. ``vips``: libvips'
thumbnail, of the file or of its pixels. With the library alone: its version. Exit code 127: it is not installed.
"""

from __future__ import annotations

import sys


def _pillow(how: str, source: str, target: str, size: tuple[int, int]) -> None:
    from PIL import Image

    with Image.open(source) as image:
        if how == "fast":
            image.draft("RGB", size)
        image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(target)


def _vips(how: str, source: str, target: str, size: tuple[int, int]) -> None:
    import pyvips

    if how == "fast":
        reduced = pyvips.Image.thumbnail(source, size[0], height=size[1], size="force")
    else:
        reduced = pyvips.Image.new_from_file(source).thumbnail_image(size[0], height=size[1], size="force")
    reduced.write_to_file(target)


def main() -> None:
    library, *rest = sys.argv[1:]
    if not rest:
        try:
            import pyvips
        except ModuleNotFoundError:
            print("the package pyvips is not installed: pip install 'ida-rd[libraries]'", file=sys.stderr)
            sys.exit(127)
        print("libvips", ".".join(str(pyvips.version(k)) for k in range(3)))
        return
    how, source, target, width, height = rest
    {"pillow": _pillow, "vips": _vips}[library](how, source, target, (int(width), int(height)))


if __name__ == "__main__":
    main()
