"""`python -m rankmatch_keras`, also for launchers: `torchrun -m rankmatch_keras train ...`."""

from rankmatch_keras.cli import main

if __name__ == "__main__":
    main()
