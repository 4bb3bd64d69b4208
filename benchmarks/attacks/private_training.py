"""DP-SGD (Abadi et al., 2016): gradients of single images are clipped and noised, as much as Opacus says."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from benchmarks.attacks.base import Attack, Stolen, Thief, of_everything
from benchmarks.datasets import to_tensor

_LEARNING_RATE, _MOMENTUM = 0.5, 0.9


@dataclass(frozen=True)
class PrivateTraining(Attack):
    """Group norm takes the place of batch norm, which would look at several images at once."""

    title = "trains with differential privacy (DP-SGD)"
    needs = ("opacus",)
    epsilon: float = 32.0
    clip: float = 1.2

    def steal(self, thief: Thief) -> Stolen:
        from opacus.accountants.utils import get_noise_multiplier
        from opacus.validators import ModuleValidator

        model = ModuleValidator.fix(thief.new_model()).train()
        images, labels = to_tensor(thief.images), torch.from_numpy(thief.labels)
        size = thief.config.batch_size
        noise = get_noise_multiplier(
            target_epsilon=self.epsilon,
            target_delta=1 / (2 * len(images)),
            sample_rate=size / len(images),
            epochs=thief.config.epochs,
        )
        generator = torch.Generator().manual_seed(thief.first_seed)
        weights = {name: value.detach() for name, value in model.named_parameters()}
        speed = {name: torch.zeros_like(value) for name, value in weights.items()}

        def loss(own: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
            return F.cross_entropy(functional_call(model, own, (image[None],)), label[None])

        gradients = vmap(grad(loss), in_dims=(None, 0, 0))
        for _ in range(thief.config.epochs * len(images) // size):
            # Poisson sampling, as the accountant presumes
            rows = torch.nonzero(torch.rand(len(images), generator=generator) < size / len(images))
            if not len(rows):
                continue
            each = gradients(weights, images[rows[:, 0]].float() / 255, labels[rows[:, 0]])
            norms = torch.stack([one.flatten(1).norm(dim=1) for one in each.values()]).norm(dim=0)
            share = (self.clip / norms).clamp(max=1)
            for name, one in each.items():
                total = torch.einsum("n,n...->...", share, one)
                total += noise * self.clip * torch.randn(total.shape, generator=generator)
                speed[name].mul_(_MOMENTUM).add_(total / size)
                weights[name].sub_(_LEARNING_RATE * speed[name])
        return of_everything(thief, model.eval())
