"""ResNet-50 and ViT-B/16 against the same networks of transformers, with random weights.

They take a few hundred megabytes, and torch. Names are changed to torchvision's.
"""

import re

import numpy as np
import pytest
from flax import nnx

from experiments.vision.trunks import open_trunk

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.slow
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RESNET = (
    (r"embedder\.embedder\.convolution", "conv1"),
    (r"embedder\.embedder\.normalization", "bn1"),
    (r"encoder\.stages\.(\d)\.layers\.(\d)", lambda found: f"layer{int(found[1]) + 1}.{found[2]}"),
    (r"shortcut\.convolution", "downsample.0"),
    (r"shortcut\.normalization", "downsample.1"),
    (r"layer\.(\d)\.convolution", lambda found: f"conv{int(found[1]) + 1}"),
    (r"layer\.(\d)\.normalization", lambda found: f"bn{int(found[1]) + 1}"),
)
VIT = (
    (r"embeddings\.cls_token", "class_token"),
    (r"embeddings\.position_embeddings", "encoder.pos_embedding"),
    (r"embeddings\.patch_embeddings\.projection", "conv_proj"),
    (r"^layers\.(\d+)", r"encoder.layers.encoder_layer_\1"),
    (r"attention\.o_proj", "self_attention.out_proj"),
    (r"layernorm_before", "ln_1"),
    (r"layernorm_after", "ln_2"),
    (r"mlp\.fc1", "mlp.linear_1"),  # as in torchvision's published files
    (r"mlp\.fc2", "mlp.linear_2"),
    (r"^layernorm", "encoder.ln"),
)


def images(*shape):
    pictures = np.random.default_rng(0).random((2, *shape, 3), np.float32)
    wanted = (pictures - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return pictures, torch.tensor(wanted.transpose(0, 3, 1, 2))


def renamed(model, rules):
    tensors = {}
    for name, value in model.state_dict().items():
        for pattern, new in rules:
            name = re.sub(pattern, new, name)
        tensors[name] = value
    return tensors


def features(trunk, pictures):
    return np.asarray(nnx.jit(lambda model, x: model(x))(trunk, pictures))


def test_resnet50(tmp_path):
    torch.manual_seed(0)
    model = transformers.ResNetModel(transformers.ResNetConfig()).eval()
    for name, values in (*model.named_buffers(), *model.named_parameters()):
        if name.endswith(("running_var", "normalization.weight")):
            values.data.uniform_(0.4, 1.2)
        elif name.endswith(("running_mean", "normalization.bias")):
            values.data.normal_(0, 0.1)
    torch.save(renamed(model, RESNET), tmp_path / "w.pth")
    pictures, wanted = images(64, 96)
    with torch.no_grad():
        expected = model(wanted).pooler_output[:, :, 0, 0].numpy()
    found = features(open_trunk("resnet50", weights=str(tmp_path / "w.pth"), seed=0), pictures)
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.std())


def test_vit_b16(tmp_path):
    torch.manual_seed(0)
    config = transformers.ViTConfig(layer_norm_eps=1e-6)
    model = transformers.ViTModel(config, add_pooling_layer=False).eval()
    for values in model.parameters():
        values.data += 0.02 * torch.randn_like(values)
    tensors = renamed(model, VIT)
    for name in [name for name in tensors if ".attention.q_proj." in name]:
        parts = [tensors.pop(name.replace("q_proj", f"{which}_proj")) for which in "qkv"]
        joined = name.replace("attention.q_proj.", "self_attention.in_proj_")
        tensors[joined] = torch.cat(parts)
    torch.save(tensors, tmp_path / "w.pth")
    trunk = open_trunk("vit_b16", weights=str(tmp_path / "w.pth"), seed=0)
    for shape, tolerance in (((224, 224), 1e-4), ((160, 96), 0.05)):  # places are interpolated
        pictures, wanted = images(*shape)
        with torch.no_grad():
            found = model(wanted, interpolate_pos_encoding=shape != (224, 224))
        expected = found.last_hidden_state[:, 0].numpy()
        difference = features(trunk, pictures) - expected
        assert np.abs(difference).max() < tolerance * expected.std()
