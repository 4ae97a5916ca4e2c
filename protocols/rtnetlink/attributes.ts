import { DecodeError } from '../octets/index.ts';
import { NLA_F_NESTED, NLA_TYPE_MASK } from './constants.ts';

/**
 * Netlink is in the byte order of the machine (only what the network defines, such as addresses, is big-endian), so this
 * codec is too. Recorded octets are of a little-endian machine; no big-endian one was at hand to try.
 */
export const LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

const ALIGNMENT = 4;
const HEADER = 4;

export function align(length: number): number {
  return (length + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
}

/** A bounded view of octets in host byte order: every read is checked, none goes past `end`. */
export class HostReader {
  readonly #octets: Uint8Array;
  readonly #view: DataView;
  readonly #end: number;
  #position: number;

  constructor(octets: Uint8Array, start = 0, end = octets.length) {
    this.#octets = octets;
    this.#view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
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
    return this.#view.getUint8(this.#advance(1, field));
  }

  u16(field: string): number {
    return this.#view.getUint16(this.#advance(2, field), LITTLE_ENDIAN);
  }

  u32(field: string): number {
    return this.#view.getUint32(this.#advance(4, field), LITTLE_ENDIAN);
  }

  s32(field: string): number {
    return this.#view.getInt32(this.#advance(4, field), LITTLE_ENDIAN);
  }

  /** A reader of the next `length` octets that reports offsets in the same count; this one moves past them. */
  sub(length: number, field: string): HostReader {
    const start = this.#advance(length, field);
    return new HostReader(this.#octets, start, start + length);
  }

  /** A second reader of what is left. */
  clone(): HostReader {
    return new HostReader(this.#octets, this.#position, this.#end);
  }

  /** A copy of what is left; the caller may keep it. */
  rest(): Uint8Array {
    const start = this.#advance(Math.max(0, this.remaining), 'rest');
    return this.#octets.slice(start, this.#end);
  }

  /** Past the padding that follows a unit of `length` octets; padding cut off at the end is no fault. */
  skipPadding(length: number): void {
    this.#position = Math.min(this.#position + align(length) - length, Math.max(this.#end, this.#position));
  }

  fail(reason: string): never {
    throw new DecodeError(reason, this.#position);
  }

  #advance(length: number, field: string): number {
    if (length < 0 || length > this.remaining) {
      this.fail(`${field}: ${length} octets wanted, ${Math.max(0, this.remaining)} left`);
    }
    const start = this.#position;
    this.#position += length;
    return start;
  }
}

/** The attributes of one level, by type without the NLA_F_ flags; reads give undefined when the attribute is not there. */
export class Attributes {
  readonly #list: { type: number; reader: HostReader }[] = [];

  /** All that is left in `reader`. Fewer than four octets at the end are padding. */
  constructor(reader: HostReader) {
    while (reader.remaining >= HEADER) {
      const length = reader.u16('attribute length');
      const type = reader.u16('attribute type') & NLA_TYPE_MASK;
      if (length < HEADER) reader.fail(`attribute ${type}: a length of ${length} octets`);
      this.#list.push({ type, reader: reader.sub(length - HEADER, `attribute ${type}`) });
      reader.skipPadding(length);
    }
  }

  has(type: number): boolean {
    return this.#list.some((attribute) => attribute.type === type);
  }

  u8(type: number): number | undefined {
    return this.#read(type, (reader) => reader.u8(`attribute ${type}`));
  }

  u16(type: number): number | undefined {
    return this.#read(type, (reader) => reader.u16(`attribute ${type}`));
  }

  u32(type: number): number | undefined {
    return this.#read(type, (reader) => reader.u32(`attribute ${type}`));
  }

  s32(type: number): number | undefined {
    return this.#read(type, (reader) => reader.s32(`attribute ${type}`));
  }

  octets(type: number): Uint8Array | undefined {
    return this.#read(type, (reader) => reader.rest());
  }

  /** UTF-8 up to the first NUL. */
  text(type: number): string | undefined {
    return this.#read(type, (reader) => {
      const octets = reader.rest();
      const end = octets.indexOf(0);
      return new TextDecoder().decode(end < 0 ? octets : octets.subarray(0, end));
    });
  }

  nested(type: number): Attributes | undefined {
    return this.#read(type, (reader) => new Attributes(reader));
  }

  /** Every attribute of a type that may repeat, as nests. */
  allNested(type: number): Attributes[] {
    return this.#list
      .filter((attribute) => attribute.type === type)
      .map(({ reader }) => new Attributes(reader.clone()));
  }

  /** Every attribute of a type that may repeat. */
  all(type: number): HostReader[] {
    return this.#list.filter((attribute) => attribute.type === type).map(({ reader }) => reader.clone());
  }

  /** As the kernel does, the last attribute of a type counts. */
  #read<T>(type: number, read: (reader: HostReader) => T): T | undefined {
    const found = this.#list.findLast((attribute) => attribute.type === type);
    return found && read(found.reader.clone());
  }
}

/** Builds headers and attributes in host byte order. A value outside its field's range is a caller's mistake and throws RangeError. */
export class HostWriter {
  #octets = new Uint8Array(128);
  #length = 0;

  u8(value: number): this {
    return this.#put(1, value, 0, 0xff, (view, at) => view.setUint8(at, value));
  }

  u16(value: number): this {
    return this.#put(2, value, 0, 0xffff, (view, at) => view.setUint16(at, value, LITTLE_ENDIAN));
  }

  u32(value: number): this {
    return this.#put(4, value, 0, 0xffffffff, (view, at) => view.setUint32(at, value, LITTLE_ENDIAN));
  }

  s32(value: number): this {
    return this.#put(4, value, -0x80000000, 0x7fffffff, (view, at) =>
      view.setInt32(at, value, LITTLE_ENDIAN),
    );
  }

  octets(value: Uint8Array): this {
    const at = this.#grow(value.length);
    this.#octets.set(value, at);
    return this;
  }

  attribute(type: number, write: (writer: HostWriter) => void): this {
    const at = this.#grow(HEADER);
    write(this);
    const length = this.#length - at;
    if (length > 0xffff) throw new RangeError(`attribute ${type} of ${length} octets`);
    const view = new DataView(this.#octets.buffer);
    view.setUint16(at, length, LITTLE_ENDIAN);
    view.setUint16(at + 2, type, LITTLE_ENDIAN);
    this.#grow(align(length) - length);
    return this;
  }

  nested(type: number, write: (writer: HostWriter) => void): this {
    return this.attribute(type | NLA_F_NESTED, write);
  }

  /** With its final NUL. */
  text(type: number, value: string): this {
    return this.attribute(type, (writer) => writer.octets(new TextEncoder().encode(value)).u8(0));
  }

  finish(): Uint8Array {
    return this.#octets.slice(0, this.#length);
  }

  #put(
    size: number,
    value: number,
    min: number,
    max: number,
    set: (view: DataView, at: number) => void,
  ): this {
    if (!Number.isInteger(value) || value < min || value > max)
      throw new RangeError(`${value} does not fit ${size} octets`);
    const at = this.#grow(size);
    set(new DataView(this.#octets.buffer), at);
    return this;
  }

  #grow(size: number): number {
    const at = this.#length;
    this.#length += size;
    if (this.#length > this.#octets.length) {
      const grown = new Uint8Array(Math.max(this.#length, this.#octets.length * 2));
      grown.set(this.#octets);
      this.#octets = grown;
    }
    return at;
  }
}
