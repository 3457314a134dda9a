"""Who is where: the manifest, its spellings, and the lists that data sets come with."""
