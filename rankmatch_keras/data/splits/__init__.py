"""Splits: which training images are labeled, read from lists or chosen."""

from rankmatch_keras.data.sets.lists import read_list as read_list
from rankmatch_keras.data.splits.split import Split as Split
from rankmatch_keras.data.splits.split import choose_labeled as choose_labeled
from rankmatch_keras.data.splits.split import require_unique as require_unique
from rankmatch_keras.data.splits.split import samples_from_list as samples_from_list
from rankmatch_keras.data.splits.split import split_from_lists as split_from_lists
from rankmatch_keras.data.splits.split import split_id as split_id
from rankmatch_keras.data.splits.split import with_val_list as with_val_list
