"""Translation of out-of-memory, disk-full, NaN and other failures of training into TrainingError."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from dawnchorus.config import TrainFunctionArgs
from dawnchorus.errors import TrainingError

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MEMORY_MESSAGES = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
_KILLED_MESSAGE = "killed by signal: Killed"  # a loader's worker, when the system runs out of memory
_DETERMINISTIC_MESSAGE = "does not have a deterministic implementation"
_COMPILERS = ("torch._dynamo", "torch._inductor")


class NotFiniteError(Exception):
    """A loss, or the network's probabilities, that are not finite.

    Parameters
    ----------
    epoch, batch
        Epoch and batch, from 0; None as the batch where it was found in validation.
    value
        The loss.

    Examples
    --------
    >>> NotFiniteError(epoch=3, batch=17, value=float("nan")).batch
    17
    """

    def __init__(self, epoch: int, batch: int | None, value: float) -> None:
        super().__init__(epoch, batch, value)
        self.epoch, self.batch, self.value = epoch, batch, value


@contextmanager
def told_in_a_sentence(args: TrainFunctionArgs, *, fold: int, folder: Path) -> Iterator[None]:
    """Translate failures within the block into a TrainingError with the cause and the remedy.

    Parameters
    ----------
    args
        Settings that the message names.
    fold, folder
        The fold, and its folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.config import load_train_config
    >>> from dawnchorus.errors import TrainingError
    >>> args = load_train_config("train.py").train_function_args
    >>> try:
    ...     with told_in_a_sentence(args, fold=0, folder=Path("logdirs/tiny/fold_0")):
    ...         raise MemoryError
    ... except TrainingError as error:
    ...     print(str(error).partition(";")[0])
    out of memory in fold 0 with batches of 4 (64 in validation) in 32-true
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise TrainingError(_out_of_memory(args, fold)) from error
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        raise TrainingError(
            f"the disk of {folder} is full ({error.strerror}); the checkpoints there are whole; make room "
            "and run the same command again to go on after the last of them"
        ) from error
    except RuntimeError as error:
        if any(message in str(error) for message in _MEMORY_MESSAGES):
            raise TrainingError(_out_of_memory(args, fold)) from error
        if _KILLED_MESSAGE in str(error):
            raise TrainingError(
                f"a loader worker of fold {fold} was killed, as the system does when memory ends; lower "
                f"num_workers ({args.train_loader.num_workers}) and run the same command again"
            ) from error
        if _DETERMINISTIC_MESSAGE in str(error):
            raise TrainingError(f"{_first_line(error)}; set deterministic to False") from error
        if type(error).__module__.startswith(_COMPILERS):
            raise TrainingError(
                f"torch.compile failed ({_first_line(error)}); set compile to False, or install what it names"
            ) from error
        raise


def _out_of_memory(args: TrainFunctionArgs, fold: int) -> str:
    batch_size, devices = args.train_loader.batch_size, args.n_devices
    shared = f" on {devices} devices" if devices > 1 else ""
    if args.auto_batch:
        lower = ["leave out auto_batch and give a smaller train_loader.batch_size"]
    else:
        lower = [
            f"lower train_loader.batch_size and raise accumulate_batches ({args.accumulate_batches}) as much"
        ]
    if args.precision_mode == "32-true":
        lower.append("or take precision_mode bf16-mixed")
    lower.append("or a smaller backbone")
    return (
        f"out of memory in fold {fold} with batches of {batch_size}{shared} ({args.val_loader.batch_size} in "
        f"validation) in {args.precision_mode}; {', '.join(lower)}, with another exp_name if an epoch is done"
    )


def not_finite(
    error: NotFiniteError, *, fold: int, recordings: list[str], last: Path, args: TrainFunctionArgs
) -> TrainingError:
    """Return the TrainingError for a loss that is not finite.

    Parameters
    ----------
    error
        The epoch, the batch and the loss.
    fold
        The fold.
    recordings
        Names of the batch's recordings; none where they are not known.
    last
        The checkpoint of the last whole epoch.
    args
        Settings that the message names.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.config import load_train_config
    >>> args = load_train_config("train.py").train_function_args
    >>> error = NotFiniteError(epoch=3, batch=17, value=float("nan"))
    >>> stopped = not_finite(error, fold=0, recordings=[], last=Path("last.safetensors"), args=args)
    >>> print(str(stopped).partition(";")[0])
    fold 0 stopped: the loss is nan in epoch 3, batch 17
    """
    what = (
        "the network's answers are not numbers after" if error.batch is None else f"the loss is {error.value}"
    )
    where = f"epoch {error.epoch}" if error.batch is None else f"in epoch {error.epoch}, batch {error.batch}"
    of = f" ({', '.join(recordings)})" if recordings else ""
    kept = f"the last good checkpoint is {last}" if last.is_file() else "no epoch was finished before"
    remedies = [f"lower optimizer.lr ({args.optimizer.lr:g})"]
    if args.clip_gradient_norm is None:
        remedies.append("set clip_gradient_norm")
    if args.precision_mode == "16-mixed":
        remedies.append("take precision_mode bf16-mixed")
    return TrainingError(
        f"fold {fold} stopped: {what} {where}{of}; {kept}. {', '.join(remedies).capitalize()}, or look at "
        "these recordings, under another exp_name"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
