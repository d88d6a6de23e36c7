"""Run the notebooks of this folder and keep their outputs: pictures in few colours, and no players.

python examples/execute.py --data ESC-50-FOLDER               # all of them, written back
python examples/execute.py examples/ast.ipynb --out runs      # written there, with players
"""

from __future__ import annotations

import argparse
import base64
import io
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).parent
COLOURS, WIDTH = 32, 760


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", type=Path, nargs="*", default=sorted(HERE.glob("*.ipynb")))
    parser.add_argument("--data", type=Path, help="folder of ESC-50 or its ten-class subset; default synthetic sounds")
    parser.add_argument("--out", type=Path, help="write there, with players, and leave the notebooks as they are")
    args = parser.parse_args()
    for path in args.notebooks:
        given = {} if args.data is None else {"DATA": str(args.data.resolve())}
        notebook = run(path, given)
        if args.out is None:
            shrink(notebook)
        else:
            args.out.mkdir(parents=True, exist_ok=True)
        written = path if args.out is None else args.out / path.name
        nbformat.write(notebook, written)
        print(f"{written}: {written.stat().st_size / 1000:.0f} kB", flush=True)


def run(path: Path, given: dict[str, Any], **client: Any) -> Any:
    """The notebook with fresh outputs, ``given`` replacing values of its cell of parameters, if it has those names."""
    notebook = nbformat.read(path, as_version=4)
    place = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ()))
    source = notebook.cells[place].source
    notebook.cells[place].source += "".join(f"\n{name} = {value!r}" for name, value in given.items() if name in source)
    with tempfile.TemporaryDirectory() as folder:
        options = {"timeout": 1800, "record_timing": False, "resources": {"metadata": {"path": folder}}, **client}
        NotebookClient(notebook, **options).execute()
    notebook.cells[place].source = source
    return notebook


def shrink(notebook: Any) -> None:
    """Leave out players and notes of the machine it ran on, and pack pictures."""
    for cell in notebook.cells:
        if "outputs" in cell:
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
    for data in outputs(notebook):
        data.pop("text/html", None)
        if "image/png" in data:
            picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).convert("RGB")
            picture.thumbnail((WIDTH, 10 * WIDTH))
            packed = io.BytesIO()
            picture.quantize(COLOURS).save(packed, "PNG", optimize=True)
            data["image/png"] = base64.b64encode(packed.getvalue()).decode()


def outputs(notebook: Any) -> Iterable[dict[str, Any]]:
    """What the cells show, by media type."""
    return [found["data"] for cell in notebook.cells for found in cell.get("outputs", ()) if "data" in found]


if __name__ == "__main__":
    main()
