// Errors with places, tables of keys and codecs of values are a module of their own, which build specs share.
@_exported import HatcheryConfigurationText
