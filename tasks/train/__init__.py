"""The stages train_gan and train_vae; apart, so that an edit to one learner does not train the other again."""
