/** Names for services whose makers did not give one: an adjective and somebody who found out. */

import type { Random } from "#base/ports.ts";

const ADJECTIVES = `
able agile airy amber apt azure bold brave breezy bright brisk calm candid clever cosy crisp curious
daring deft eager early earnest fair fleet fond frank fresh gentle glad golden grand happy hardy
honest humble jolly keen kind lively lucid lucky mellow merry mild modest neat nimble noble patient
plucky polite prime proud quick quiet ready rosy shy silent smart snug sober solid spry steady still
stout sunny swift tender tidy true upbeat vivid warm wise witty zesty
`
  .trim()
  .split(/\s+/);

const SURNAMES = `
abel ampere banach bernoulli bessel bohr bolyai boole bose cantor cauchy cavendish celsius chandra
church clairaut cori coulomb crick darwin diffie dirac doppler erdos euclid euler faraday fermat
feynman fourier franklin frege frisch galileo galois gauss germain goldberg gossard haber hamilton
hertz hilbert hooke hopper huber huygens jacobi janscha joliot kepler kleene knuth kovalevsky lamport
laplace leavitt lindauer liskov lovelace maxwell mendel merkle milner mirzakhani newton noether ohm
pascal pauli payne perlman planck poincare ramanujan riemann rossby sagan shannon swammerdam tarski
tesla turing volta wegener weyl wiles yalow yukawa zhang
`
  .trim()
  .split(/\s+/);

/** "brave_hopper". */
export function randomName(random: Random): string {
  return `${pick(ADJECTIVES, random)}_${pick(SURNAMES, random)}`;
}

function pick(words: readonly string[], random: Random): string {
  return words[random.int(words.length)] ?? "";
}
