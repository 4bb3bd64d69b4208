"""The SDK's functions: signatures, their words and the call of what does the work, imported when it is called."""
