"""Pretrained feature networks: the Inception v3 of the Fréchet inception distance, and DINOv2.

The user supplies a file of weights. Images are float [N, C, H, W] in [-1, 1] of any size, grey or RGB; each network
converts them to the size and range of its training. Libraries that only these networks need are imported on
construction, because that takes seconds.
"""

import io
from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.pixels import to_bytes, to_unit
from models.shapes import check_shape

PretrainedName = Literal["inception", "dinov2"]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # of ImageNet, by which DINOv2 expects its input normalised
SIDE = 224  # input size of DINOv2 in pixels
WIDTHS = {384: "small", 768: "base", 1024: "large", 1536: "giant"}


class Inception(nn.Module):
    """Pooled features float [N, 2048] of TensorFlow's Inception v3 of 2015 (Heusel et al. 2017)."""

    kind = "inception"
    resizer = "bilinear to 299, as TensorFlow 1"

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        """Loads `weights` under torch-fidelity's names; raises ValueError where names or shapes differ."""
        super().__init__()
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        file = io.BytesIO()
        torch.save(dict(weights), file)
        file.seek(0)
        try:
            self.network = FeatureExtractorInceptionV3("inception", ["2048"], file)  # type: ignore[no-untyped-call]
        except RuntimeError:
            raise ValueError("these are not the weights of torch-fidelity's Inception v3 of 2015-12-05") from None

    def features(self, images: Tensor) -> Tensor:
        """Returns features float [N, 2048]; raises ValueError unless images are float [N, C, H, W]."""
        check_shape(images, "images", ("N", "C", "H", "W"))
        vectors: Tensor = self.network(_rgb(to_bytes(to_unit(images))))[0]
        return vectors


class Dinov2(nn.Module):
    """Normalised class token float [N, 384 to 1536] of DINOv2 (Oquab et al. 2024, arXiv 2304.07193)."""

    kind = "dinov2"
    resizer = f"bicubic to {SIDE}, antialiased"

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        """Loads `weights` under Meta's or timm's names; raises ValueError where names or shapes differ."""
        super().__init__()
        import timm
        from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn

        width = weights["cls_token"].numel() if "cls_token" in weights else 0
        if width not in WIDTHS:
            raise ValueError("these are not the weights of a DINOv2 network")
        registers = "_reg4" if {"register_tokens", "reg_token"} & set(weights) else ""
        name = f"vit_{WIDTHS[width]}_patch14{registers}_dinov2"
        self.network = timm.create_model(name, pretrained=False, num_classes=0, img_size=SIDE)
        assert isinstance(self.network, VisionTransformer)
        try:
            self.network.load_state_dict(checkpoint_filter_fn(dict(weights), self.network))
        except (RuntimeError, LookupError, AttributeError):
            raise ValueError("these are not the weights of a DINOv2 network") from None
        self.requires_grad_(False)

    def features(self, images: Tensor) -> Tensor:
        """Returns features float [N, F]; raises ValueError unless images are float [N, C, H, W]."""
        check_shape(images, "images", ("N", "C", "H", "W"))
        from torchvision.transforms.functional import normalize

        sized = F.interpolate(_rgb(to_unit(images)), (SIDE, SIDE), mode="bicubic", antialias=True)
        vectors: Tensor = self.network(normalize(sized, MEAN, STD))
        return vectors


PRETRAINED: dict[PretrainedName, type[Inception] | type[Dinov2]] = {"inception": Inception, "dinov2": Dinov2}


def _rgb(images: Tensor) -> Tensor:
    """Repeats the channel of grey images three times."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
