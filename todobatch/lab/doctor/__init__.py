"""Check whether measurements on this machine are reliable."""
