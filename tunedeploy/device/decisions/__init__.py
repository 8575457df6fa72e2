"""What an answer is: how outputs become it, and when two of them differ; a file a sort of answer."""
