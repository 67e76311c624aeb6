/** Tessera: transformer inference inside other people's programs. */
module dev.tessera {
  exports dev.tessera;
}
