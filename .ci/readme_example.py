"Run the README's library example as a reader would: the first Python block that loads a model."

import ast
import sys
from pathlib import Path


def example(readme: str) -> str:
    "The first block fenced as Python that calls `probpose.load(`."
    blocks, block = [], None
    for line in readme.splitlines():
        fence = line.strip()
        if block is None and fence.startswith("```"):
            block = [] if fence[3:].strip().lower() in ("python", "py") else [None]
        elif block is not None and fence == "```":
            blocks += ["\n".join(block)] if None not in block else []
            block = None
        elif block is not None and None not in block:
            block.append(line)
    for text in blocks:
        if "probpose.load(" in text:
            return text
    sys.exit("README.md has no Python block with probpose.load(...)")


def assigned(tree: ast.AST) -> set[str]:
    "Names that a piece of code binds."
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return names | {
        (alias.asname or alias.name) for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }


def detections():
    "A person seen from the front in MPII order, pixels of a 1000 × 1000 image, and a confidence for every joint."
    import numpy as np

    xy = [
        (460, 820),
        (465, 680),
        (470, 540),
        (530, 540),
        (535, 680),
        (540, 820),
        (500, 540),
        (500, 330),
        (500, 300),
        (500, 220),
    ]
    xy += [(390, 560), (400, 450), (440, 340), (560, 340), (600, 450), (610, 560)]
    return np.array(xy, dtype=np.float32), np.full(16, 0.9, dtype=np.float32)


def main(path: str) -> None:
    code = example(Path(path).read_text(encoding="utf-8"))
    tree = ast.parse(code)
    names = {}
    if "probpose" not in assigned(tree):
        import probpose

        names["probpose"] = probpose
    if not {"xy", "scores"} <= assigned(tree):
        names["xy"], names["scores"] = detections()
    exec(compile(tree, "README.md", "exec"), names)
    poses = names["poses"]
    assert poses.shape[0] == 200 and tuple(poses.shape[-2:]) == (17, 3), poses.shape
    assert poses.isfinite().all() and 0.5 < (poses.amax(-2) - poses.amin(-2)).amax() < 4, "poses are not of human size"
    print(f"{code}\n-> poses {tuple(poses.shape)}, metres")


if __name__ == "__main__":
    main(sys.argv[1])
