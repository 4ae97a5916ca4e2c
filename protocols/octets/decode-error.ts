/**
 * The only exception a decoder of this tree throws: the octets do not form what they claim to be.
 * `offset` counts from the first octet handed to the outermost decoder.
 */
export class DecodeError extends Error {
  readonly reason: string;
  readonly offset: number;

  constructor(reason: string, offset: number) {
    super(`${reason} (at octet ${offset})`);
    this.name = 'DecodeError';
    this.reason = reason;
    this.offset = offset;
  }
}
