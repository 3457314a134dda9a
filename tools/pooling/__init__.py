"""The parts of the pooling study: pictures to features, features to virtual videos, rules, scores."""
