"""Foreign models as :class:`audioxai.AudioClassifier`, one file each; each is imported on use."""
