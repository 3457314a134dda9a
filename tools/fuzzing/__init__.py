"""What tools/fuzz_containers.py is made of: files to read, and how their reading is watched."""
