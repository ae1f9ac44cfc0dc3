"""Names on the Hugging Face Hub: org/name becomes the folder that its files were fetched into."""

from __future__ import annotations

import re
from pathlib import Path

from lamina.core.config import UserError

__all__ = ["TOKENIZER", "local"]

NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json", "merges.txt",
)  # fmt: skip
# no *.bin and no *.py: nothing is fetched that could run code
WANTED = ["config.json", "*.spm", "*.safetensors", "*.safetensors.index.json", *TOKENIZER]


def local(path: str | Path) -> Path:
    """The folder itself where there is one; the Hub is asked for org/name if neither it nor a folder org is here."""
    path = Path(path)
    name = path.as_posix()
    if path.exists() or path.parent.exists() or not NAME.fullmatch(name):
        return path
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise UserError(
            f"{name}: no such folder; to fetch it from the Hugging Face Hub: pip install 'lamina[hub]'"
        ) from None
    try:
        return Path(snapshot_download(name, allow_patterns=WANTED))
    except Exception as error:  # of the network, of its disk, of a name that is unknown or closed: many kinds
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{name}: no such folder, and the Hugging Face Hub did not give it ({first}); give a folder, or try again "
            "with a network and a right name"
        ) from None
