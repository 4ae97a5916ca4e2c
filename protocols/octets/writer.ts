/** Builds octets big-endian; grows as needed. Values outside a field's range are a caller's mistake and throw RangeError. */
export class OctetWriter {
  #octets: Uint8Array;
  #length = 0;

  constructor(capacity = 128) {
    this.#octets = new Uint8Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  u8(value: number): this {
    return this.#put(value, 1);
  }

  u16(value: number): this {
    return this.#put(value, 2);
  }

  u24(value: number): this {
    return this.#put(value, 3);
  }

  u32(value: number): this {
    return this.#put(value, 4);
  }

  octets(value: Uint8Array): this {
    this.#reserve(value.length);
    this.#octets.set(value, this.#length);
    this.#length += value.length;
    return this;
  }

  /** Zero octets up to a total length of `length`; nothing when it is reached already. */
  padTo(length: number): this {
    if (length > this.#length) {
      this.#reserve(length - this.#length);
      this.#length = length;
    }
    return this;
  }

  finish(): Uint8Array {
    return this.#octets.slice(0, this.#length);
  }

  #put(value: number, size: number): this {
    if (!Number.isInteger(value) || value < 0 || value >= 2 ** (8 * size)) {
      throw new RangeError(`${value} does not fit ${size} octets`);
    }
    this.#reserve(size);
    for (let shift = size - 1; shift >= 0; shift--) {
      this.#octets[this.#length++] = Math.floor(value / 2 ** (8 * shift)) & 0xff;
    }
    return this;
  }

  #reserve(size: number): void {
    const needed = this.#length + size;
    if (needed <= this.#octets.length) return;
    const grown = new Uint8Array(Math.max(needed, this.#octets.length * 2));
    grown.set(this.#octets.subarray(0, this.#length));
    this.#octets = grown;
  }
}
