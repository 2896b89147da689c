"""Trains networks by learning rules: `python main.py --flagfile=digits_width`."""

import wna_tf_command

if __name__ == "__main__":
    wna_tf_command.main()
