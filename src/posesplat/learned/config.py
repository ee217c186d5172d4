"""How large the network is and which of its parts it has: one frozen type for every size."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

SizeName = Literal["tiny", "base", "large", "large-v1", "large-vggt"]
Form = Literal["light", "spfsplat", "spfsplatv2", "spfsplatv2-l"]

_AS_PUBLISHED: dict[str, Any] = {
    "separate_reference": True,
    "points": "canonical",
    "matching_features": 0,
    "epipolar_steps": 0,
    "residual_splats": False,
}
"""What the published forms have in common, whatever their size."""


def _listed(fields: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in fields.items())


_SIDES_PX: dict[Form, int] = {"light": 128, "spfsplat": 256, "spfsplatv2": 256, "spfsplatv2-l": 224}


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes and parts of a :class:`posesplat.learned.network.SplatNetwork`."""

    form: Form = "light"
    """``spfsplat``, ``spfsplatv2`` and ``spfsplatv2-l``: layer for layer as published, so that the official checkpoints
    can be loaded; ``light``: smaller heads, and room for matching, epipolar steps and depth along rays."""
    patch_px: int = 16
    """Side of a token in pixels; image sides are multiples of it."""
    encoder_width: int = 1024
    """Length of the encoder's tokens."""
    encoder_depth: int = 24
    """Blocks of the encoder."""
    encoder_heads: int = 16
    """Attention heads of the encoder."""
    decoder_width: int = 768
    """Length of the decoder's tokens."""
    decoder_depth: int = 12
    """Blocks of the decoder."""
    decoder_heads: int = 12
    """Attention heads of the decoder."""
    separate_reference: bool = True
    """Own decoder blocks and heads for the first view, as in DUSt3R; False shares them and marks the first view."""
    head_features: int = 256
    """Channels of the dense heads."""
    head_level_features: int = 96
    """Channels of the finest level of tokens before the dense heads fuse them; coarser ones have more. Published forms
    only."""
    position_grid: int = 37
    """Side, in patches, of the square of positions that the encoder of ``spfsplatv2-l`` learns."""
    sh_degree: int = 4
    """Degree of the colours' spherical harmonics."""
    intrinsics_token: bool = True
    """Known intrinsics enter as a token, if they are given."""
    points: Literal["canonical", "camera"] = "canonical"
    """What the point head predicts: points in the frame of the first view, as published, or depth along the pixels'
    own rays, which the predicted pose carries to the first view (needs intrinsics)."""
    matching_features: int = 0
    """Length of the local descriptors whose soft matches with the first view enter the decoder; 0 = no matching."""
    epipolar_steps: int = 0
    """Steps of the pose on the epipolar error of the network's own matches; 0 = the pose head alone."""
    initial_depth: float = 1.0
    """Distance of the points before training, in the network's unit of length."""
    max_scale: float = 0.3
    """Largest standard deviation of a Gaussian, in the same unit."""
    residual_splats: bool = False
    """Gaussians start as large as their pixel and of its colour, and the head says how they differ; False is as
    published: scale 0.001 softplus, colour from the head alone."""

    def __post_init__(self) -> None:
        for name in ("encoder", "decoder"):
            width, heads = getattr(self, f"{name}_width"), getattr(self, f"{name}_heads")
            if width % (4 * heads):
                raise ValueError(
                    f"{name}_width must be a multiple of 4 x {name}_heads (rotary pairs in rows and columns); "
                    f"got {width} and {heads}."
                )
        if self.decoder_depth < 3:
            raise ValueError(
                f"decoder_depth must be at least 3 (the heads read three levels); got {self.decoder_depth}."
            )
        if not 0 <= self.sh_degree <= 4:
            raise ValueError(f"sh_degree must be between 0 and 4; got {self.sh_degree}.")
        fixed = {**_AS_PUBLISHED, "patch_px": 14 if self.form == "spfsplatv2-l" else 16}
        if self.form == "spfsplatv2-l":
            fixed["decoder_width"] = self.encoder_width
        if self.published and any(getattr(self, name) != value for name, value in fixed.items()):
            raise ValueError(
                f"The form {self.form} is as published and has {_listed(fixed)}; got {self}. "
                'Set these fields so, or form="light".'
            )
        if self.epipolar_steps and not self.matching_features:
            raise ValueError("epipolar_steps needs matches; got matching_features=0. Set it to 64, or the steps to 0.")

    @property
    def side_px(self) -> int:
        """Side of the square images with which networks of this form were trained, ours and the published ones."""
        return _SIDES_PX[self.form]

    @property
    def published(self) -> bool:
        """Whether the network has one of the published forms."""
        return self.form != "light"

    @property
    def norm_epsilon(self) -> float:
        """What the normalisation of tokens adds to their variance."""
        return 1e-6 if self.published else 1e-5

    @property
    def sh_count(self) -> int:
        """Number of spherical harmonics a colour."""
        return (self.sh_degree + 1) ** 2

    @property
    def gaussian_channels(self) -> int:
        """Raw numbers a pixel: opacity 1, scale 3, quaternion 4, harmonics; 83 at degree 4."""
        return 8 + 3 * self.sh_count

    def to_json(self) -> dict[str, Any]:
        """The fields, for a file beside the weights."""
        return asdict(self)

    @staticmethod
    def named(size: SizeName) -> NetworkConfig:
        """One of the sizes.

        ``large`` is SPFSplatV2 and ``large-v1`` SPFSplat, both as published (ViT-L encoder, ViT-B decoder); ``base`` is
        SPFSplatV2 with a ViT-B encoder; ``large-vggt`` is SPFSplatV2-L; ``tiny`` trains within minutes.

        Raises:
            ValueError: for another name.

        Source: Huang and Mikolajczyk, arXiv 2508.01171 and 2509.17246.
        """
        if size not in SIZES:
            raise ValueError(f"The network's size must be one of {', '.join(SIZES)}; got {size!r}.")
        return SIZES[size]


SIZES: dict[str, NetworkConfig] = {
    "tiny": NetworkConfig(
        patch_px=8,
        encoder_width=256,
        encoder_depth=3,
        encoder_heads=4,
        decoder_width=256,
        decoder_depth=5,
        decoder_heads=4,
        separate_reference=False,
        head_features=40,
        sh_degree=0,
        points="camera",
        matching_features=64,
        epipolar_steps=15,
        initial_depth=2.5,
        residual_splats=True,
    ),
    "base": NetworkConfig(form="spfsplatv2", encoder_width=768, encoder_depth=12, encoder_heads=12),
    "large": NetworkConfig(form="spfsplatv2"),
    "large-v1": NetworkConfig(form="spfsplat"),
    "large-vggt": NetworkConfig(
        form="spfsplatv2-l",
        patch_px=14,
        decoder_width=1024,
        decoder_depth=24,
        decoder_heads=16,
        head_level_features=256,
    ),
}
