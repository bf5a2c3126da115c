"""Batch normalization over the pictures of all processes.

torch's own `SyncBatchNorm` runs on accelerators only; on CPUs this one replaces it.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from resight.core.distributed import World, world


def synchronize(model: nn.Module) -> nn.Module:
    """Return the model with every batch normalization over all processes' pictures; names stay the same.

    Ioffe and Szegedy 2015, section 3, take the statistics over the whole batch; without this each process
    takes them over its own share of it.
    """
    if next(model.parameters()).device.type != "cpu":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncedBatchNorm2d
    return model


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalization whose statistics in training are over all processes.

    Maps are float32, float64 or bf16; statistics and weights of bf16 maps are float32.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalize (B, C, H, W)."""
        if not self.training:
            return super().forward(input)
        assert self.num_batches_tracked is not None and self.momentum is not None
        assert self.running_mean is not None and self.running_var is not None
        output, mean, variance, count = _Normalize.apply(input, self.weight, self.bias, self.eps, world())
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1).clamp(min=1)), self.momentum)
        return output


class _Normalize(torch.autograd.Function):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, with mean and var over all processes."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor, bias: Tensor, eps: float, among: World
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # With its float32 weights, torch takes the statistics of bf16 maps in float32.
        moments = torch.native_batch_norm(images, weight, bias, None, None, True, 0.0, 0.0)[1:]  # noqa: FBT003
        mean, inverse = moments
        channels = len(mean)
        # Each process fills its own row, so that the sum of all is a gathering of all.
        rows = mean.new_zeros(among.processes, 2 * channels + 1, dtype=torch.float64)
        own = rows.new_tensor([images.numel() // channels])
        inverse = inverse.double()
        spread = torch.where(inverse == 0, 0.0, inverse**-2)  # torch gives 0 for a channel that is constant
        rows[among.rank] = torch.cat([mean.double(), spread, own])
        rows = among.sum(rows)
        means, variances, counts = rows[:, :channels], rows[:, channels:-1], rows[:, -1:]
        count = counts.sum()
        whole = (means * counts).sum(0) / count
        variance = ((variances + (means - whole).square()) * counts).sum(0) / count
        statistics = whole.to(mean.dtype), variance.to(mean.dtype), count.to(mean.dtype)
        ctx.save_for_backward(images, weight, *statistics)
        ctx.among, ctx.eps = among, eps
        ctx.mark_non_differentiable(*statistics)
        output = functional.batch_norm(images, *statistics[:2], weight, bias, training=False, eps=eps)
        return output, *statistics

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        images, weight, mean, variance, count = ctx.saved_tensors
        # A gradient of bf16 maps is computed in float32 too and rounded once, at the end.
        gradient, wide = upstream[0].to(weight.dtype), images.to(weight.dtype)
        # As if mean and variance were constants; what they depend on is added below.
        training, wanted = False, [True, True, True]
        dx, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, wide, weight, mean, variance, None, None, training, ctx.eps, wanted
        )
        sums = ctx.among.sum(torch.stack([by_bias, by_weight]).double()) / count
        scale = (variance + ctx.eps).rsqrt()
        shift, slope = (-(weight * scale) * part.to(scale.dtype) for part in sums)
        slope = slope * scale
        dx = dx.addcmul_(wide, _spread(slope)).add_(_spread(shift - slope * mean))
        return dx.to(images.dtype), by_weight, by_bias, None, None


def _spread(vector: Tensor) -> Tensor:
    return vector.view(1, -1, 1, 1)
