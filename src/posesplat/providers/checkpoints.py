"""Loading networks with transformers: from a folder or by repository name, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

_INSTALL = "Install it with: pip install 'posesplat[learned]'"


def transformers_for(purpose: str) -> ModuleType:
    """The transformers package, with torch.

    Args:
        purpose: what needs it, for the message.

    Raises:
        ImportError: when torch or transformers is not installed.
    """
    try:
        import torch  # noqa: F401
        import transformers
    except ImportError as error:
        raise ImportError(f"{purpose} needs torch and transformers; {error}. {_INSTALL}", name=error.name) from error
    return transformers


def loaded_config(source: str, kinds: tuple[str, ...], purpose: str) -> Any:
    """The configuration of a checkpoint.

    Args:
        source: a folder, or the name of a repository on the Hugging Face hub, ``owner/name``, which is downloaded once
            and not at all when HF_HUB_OFFLINE=1.
        kinds: the ``model_type`` values that will do.
        purpose: what needs it, for messages.

    Raises:
        ImportError: when torch or transformers is not installed.
        OSError: when there is no such checkpoint.
        ValueError: when it is of another kind.
    """
    transformers = transformers_for(purpose)
    check_place(source, purpose, "config.json")
    try:
        config = transformers.AutoConfig.from_pretrained(_place(source))
    except (OSError, ValueError) as error:
        raise _unavailable(source, purpose, error) from error
    if config.model_type not in kinds:
        raise ValueError(
            f"{purpose} needs a checkpoint of one of the kinds {', '.join(kinds)}; {source} is {config.model_type!r}."
        )
    return config


def check_place(source: str, purpose: str, listing: str) -> None:
    """Refuse what can be neither a folder of a checkpoint nor the name of a repository.

    Args:
        source: as for :func:`loaded_config`.
        purpose: what needs it, for messages.
        listing: the file by which such a folder is known, ``config.json``.

    Raises:
        FileNotFoundError: when there is no such folder, or it lacks that file.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir() and not _is_repository(source):
        raise FileNotFoundError(
            f"{purpose} needs a checkpoint: a folder with {listing} and its weights, or a repository owner/name; "
            f"there is no folder {source}. Check the path."
        )
    if folder.is_dir() and not (folder / listing).is_file():
        raise FileNotFoundError(
            f"{purpose} needs a checkpoint folder with {listing} and its weights; {folder} has no {listing}. "
            "Pass the folder that save_pretrained wrote, or a download of the whole repository."
        )


def loaded_model(source: str, config: Any, purpose: str, auto_class: str) -> Any:
    """The network of a checkpoint in float32 for inference, every weight from the file.

    Args:
        source: as for :func:`loaded_config`.
        config: of :func:`loaded_config`.
        purpose: what needs it, for messages.
        auto_class: name of the class of transformers that builds it.

    Raises:
        OSError: when there are no weights.
        ValueError: when weights are missing or have other shapes: a network with random parts answers nonsense.
    """
    transformers = transformers_for(purpose)
    import torch

    try:
        with _without_bars(transformers) if Path(source).expanduser().is_dir() else nullcontext():
            model, report = getattr(transformers, auto_class).from_pretrained(
                _place(source), config=config, dtype=torch.float32, use_safetensors=True, output_loading_info=True
            )
    except (OSError, RuntimeError) as error:
        raise _unavailable(source, purpose, error) from error
    lacking = sorted(report["missing_keys"]) + sorted(str(key[0]) for key in report["mismatched_keys"])
    if lacking:
        raise ValueError(
            f"The checkpoint {source} must have all weights of {type(model).__name__}; {len(lacking)} are missing or "
            f"have another shape, the first is {lacking[0]}. Pass a checkpoint of this very network."
        )
    return model.eval().requires_grad_(False)


def processor_settings(source: str, purpose: str) -> dict[str, Any]:
    """What the checkpoint's ``preprocessor_config.json`` says about how images are prepared.

    Raises:
        OSError: when it has none.
    """
    transformers = transformers_for(purpose)
    try:
        settings, _ = transformers.ImageProcessingMixin.get_image_processor_dict(_place(source))
    except (OSError, ValueError) as error:
        raise _unavailable(source, purpose, error) from error
    return dict(settings)


def image_processor(source: str, class_name: str, purpose: str) -> Any:
    """The checkpoint's image processor, in the class of transformers that needs no torchvision.

    Raises:
        OSError: when the checkpoint does not say how images are prepared.
    """
    transformers = transformers_for(purpose)
    try:
        return getattr(transformers, class_name).from_pretrained(_place(source))
    except (OSError, ValueError) as error:
        raise _unavailable(source, purpose, error) from error


def checkpoint_name(source: str) -> str:
    """A short name for reports: the folder's own name, or the repository."""
    folder = Path(source).expanduser()
    return folder.resolve().name if folder.is_dir() else source


@contextmanager
def _without_bars(transformers: ModuleType) -> Iterator[None]:
    """No bar for the split second in which weights are put in place; downloads keep theirs."""
    logging = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _place(source: str) -> str:
    folder = Path(source).expanduser()
    return str(folder) if folder.is_dir() else source


def _is_repository(source: str) -> bool:
    return source.count("/") == 1 and not source.startswith((".", "~", "/")) and not source.endswith("/")


def _unavailable(source: str, purpose: str, error: Exception) -> OSError:
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return OSError(
        f"{purpose} cannot load the checkpoint {source}: {first_line} Pass a folder that has config.json, "
        "model.safetensors and preprocessor_config.json. On a machine with network: "
        f"hf download {source} --local-dir DIR"
    )
