"""What we look at: BOP folders, images, crops, augmentation, training samples."""
