import { DecodeError } from './decode-error.ts';

/** A bounded, big-endian view of octets: every read is checked, none goes past `end`. */
export class OctetReader {
  readonly #octets: Uint8Array;
  readonly #end: number;
  #position: number;

  constructor(octets: Uint8Array, start = 0, end = octets.length) {
    this.#octets = octets;
    this.#position = start;
    this.#end = Math.min(end, octets.length);
  }

  get offset(): number {
    return this.#position;
  }

  get remaining(): number {
    return this.#end - this.#position;
  }

  u8(field: string): number {
    this.#need(1, field);
    return this.#octets[this.#position++]!;
  }

  u16(field: string): number {
    this.#need(2, field);
    const value = (this.#octets[this.#position]! << 8) | this.#octets[this.#position + 1]!;
    this.#position += 2;
    return value;
  }

  u24(field: string): number {
    this.#need(3, field);
    return (this.u8(field) << 16) | this.u16(field);
  }

  u32(field: string): number {
    this.#need(4, field);
    return this.u16(field) * 0x10000 + this.u16(field);
  }

  /** A copy of the next `length` octets; the caller may keep it. */
  take(length: number, field: string): Uint8Array {
    this.#need(length, field);
    // Not octets.slice(): a Buffer's slice is a view.
    const taken = Uint8Array.prototype.slice.call(this.#octets, this.#position, this.#position + length);
    this.#position += length;
    return taken;
  }

  /** A reader of the next `length` octets that reports offsets in the same count; this one moves past them. */
  sub(length: number, field: string): OctetReader {
    this.#need(length, field);
    const start = this.#position;
    this.#position += length;
    return new OctetReader(this.#octets, start, start + length);
  }

  rest(): Uint8Array {
    return this.take(this.remaining, 'rest');
  }

  #need(length: number, field: string): void {
    if (length > this.remaining) {
      throw new DecodeError(
        `${field}: ${length} octets wanted, ${Math.max(0, this.remaining)} left`,
        this.#position,
      );
    }
  }
}
