/**
 * Transformer inference inside a Java program: a {@link dev.tessera.Runtime}, a {@link dev.tessera.Model}, an
 * {@link dev.tessera.Engine} over it, and {@link dev.tessera.Session}s that generate.
 */
package dev.tessera;
