"""A metric of your own: intersection over union at the threshold 128."""

from compute_results.protocols.own import metric


@metric("IoU")
def iou(saliency, mask):
    found, there = saliency >= 128, mask >= 128  # (H, W) uint8 each
    either = (found | there).sum()
    return (found & there).sum() / either if either else 1.0
