/**
 * D-Bus messages as octets (D-Bus specification, "Message Protocol"). dbus-next reads them and parses signatures. Its
 * writer spends a millisecond on a frame of 1,500 octets and half a second on 4,096 VSIs, so writing is done here.
 *
 * Values: strings for s, o and g; numbers for the integers and d, bigint for x and t beyond 2 ** 53; booleans;
 * Uint8Array for ay; arrays for arrays and structs; objects without a prototype for dictionaries; `Variant` for v.
 */

import DBusBuffer from 'dbus-next/lib/dbus-buffer.js';
import signatures, { type SignatureNode } from 'dbus-next/lib/signature.js';

export const METHOD_CALL = 1;
export const METHOD_RETURN = 2;
export const ERROR = 3;
export const SIGNAL = 4;

export const NO_REPLY_EXPECTED = 1;

/** What the system bus takes by default; it disconnects whoever sends more. */
export const MAX_MESSAGE = 32 * 1024 * 1024;
/** The specification's own limit, for what is received. */
const MAX_RECEIVED = 128 * 1024 * 1024;
/** The specification's limit on containers inside each other. */
const MAX_DEPTH = 64;

export interface Dictionary {
  [key: string]: Value;
}

export type Value =
  | string
  | number
  | bigint
  | boolean
  | Uint8Array
  | Variant
  | Encoded
  | readonly Value[]
  | Dictionary;

export class Variant {
  readonly signature: string;
  readonly value: Value;

  constructor(signature: string, value: Value) {
    this.signature = signature;
    this.value = value;
  }
}

/** Octets of a struct or dictionary entry written before: both start on a multiple of 8, so they fit anywhere. */
export class Encoded {
  readonly octets: Uint8Array;

  constructor(octets: Uint8Array) {
    this.octets = octets;
  }
}

/** A whole body written before, for a message that goes to many. */
export class EncodedBody {
  readonly octets: Buffer;

  constructor(octets: Buffer) {
    this.octets = octets;
  }
}

/** A value that does not fit its signature, or octets that are no D-Bus message. */
export class WireError extends Error {
  override readonly name = 'WireError';
}

export interface Message {
  type: number;
  flags: number;
  serial: number;
  path?: string;
  interface?: string;
  member?: string;
  errorName?: string;
  replySerial?: number;
  destination?: string;
  sender?: string;
  signature: string;
  body: readonly Value[] | EncodedBody;
}

/** A received message whose body has not been read yet. */
export interface Envelope extends Omit<Message, 'body'> {
  bodyLength: number;
  /** Throws WireError. */
  readBody(): Value[];
}

const parsed = new Map<string, SignatureNode[]>();

function parseSignature(signature: string): SignatureNode[] {
  let nodes = parsed.get(signature);
  if (nodes === undefined) {
    nodes = signatures.parseSignature(signature);
    // Variants carry signatures of the sender's choice.
    if (parsed.size > 500) parsed.clear();
    parsed.set(signature, nodes);
  }
  return nodes;
}

const INTEGERS: Record<string, { octets: 1 | 2 | 4; min: number; max: number }> = {
  y: { octets: 1, min: 0, max: 0xff },
  n: { octets: 2, min: -0x8000, max: 0x7fff },
  q: { octets: 2, min: 0, max: 0xffff },
  i: { octets: 4, min: -0x80000000, max: 0x7fffffff },
  u: { octets: 4, min: 0, max: 0xffffffff },
};

export const OBJECT_PATH = /^\/(?:[A-Za-z0-9_]+(?:\/[A-Za-z0-9_]+)*)?$/;

function alignmentOf(type: string): number {
  if (type === 'x' || type === 't' || type === 'd' || type === '(' || type === '{') return 8;
  if (type === 'y' || type === 'g' || type === 'v') return 1;
  return type === 'n' || type === 'q' ? 2 : 4;
}

class Writer {
  private buffer = Buffer.allocUnsafe(256);
  private length = 0;

  octets(): Buffer {
    return this.buffer.subarray(0, this.length);
  }

  /** For what is kept: without the room that was left to grow. */
  encoded(): Encoded {
    return new Encoded(Uint8Array.from(this.octets()));
  }

  /** Room for `count` octets; gives their place. */
  private claim(count: number): number {
    const at = this.length;
    if (at + count > this.buffer.length) {
      if (at + count > MAX_MESSAGE) throw new WireError(`a message is longer than ${MAX_MESSAGE} octets`);
      const bigger = Buffer.allocUnsafe(Math.max(this.buffer.length * 2, at + count));
      this.buffer.copy(bigger, 0, 0, at);
      this.buffer = bigger;
    }
    this.length = at + count;
    return at;
  }

  align(to: number): void {
    const padding = -this.length & (to - 1);
    if (padding > 0) {
      const at = this.claim(padding);
      this.buffer.fill(0, at, at + padding);
    }
  }

  raw(octets: Uint8Array): void {
    const at = this.claim(octets.length);
    this.buffer.set(octets, at);
  }

  write(node: SignatureNode, value: Value): void {
    const { type } = node;
    switch (type) {
      case 's':
      case 'o':
      case 'g':
        this.string(type, value);
        return;
      case 'b': {
        if (typeof value !== 'boolean') throw misfit(type, value);
        this.unsigned32(value ? 1 : 0);
        return;
      }
      case 'd': {
        if (typeof value !== 'number') throw misfit(type, value);
        this.align(8);
        const at = this.claim(8);
        this.buffer.writeDoubleLE(value, at);
        return;
      }
      case 'x':
      case 't': {
        if (typeof value !== 'bigint' && !Number.isInteger(value)) throw misfit(type, value);
        const wide = BigInt(value as number | bigint);
        const narrowed = type === 't' ? BigInt.asUintN(64, wide) : BigInt.asIntN(64, wide);
        if (wide !== narrowed) throw misfit(type, value);
        this.align(8);
        const at = this.claim(8);
        if (type === 't') this.buffer.writeBigUInt64LE(wide, at);
        else this.buffer.writeBigInt64LE(wide, at);
        return;
      }
      case 'v': {
        if (!(value instanceof Variant)) throw misfit(type, value);
        const [inner, ...more] = parseSignature(value.signature);
        if (inner === undefined || more.length > 0) throw misfit(`v of ${value.signature}`, value);
        this.string('g', value.signature);
        this.write(inner, value.value);
        return;
      }
      case '(':
      case '{': {
        this.align(8);
        if (value instanceof Encoded) {
          this.raw(value.octets);
          return;
        }
        if (!Array.isArray(value) || value.length !== node.child.length) throw misfit(type, value);
        for (const [i, child] of node.child.entries()) this.write(child, value[i]);
        return;
      }
      case 'a':
        this.array(node.child[0]!, value);
        return;
      default:
        this.integer(type, value);
        return;
    }
  }

  unsigned32(value: number): void {
    this.align(4);
    // claim() may move the buffer: never inside a call on it.
    const at = this.claim(4);
    this.buffer.writeUInt32LE(value, at);
  }

  private integer(type: string, value: Value): void {
    const range = INTEGERS[type];
    if (range === undefined) throw new WireError(`type ${type} cannot be sent`);
    if (!Number.isInteger(value)) throw misfit(type, value);
    const number = value as number;
    if (number < range.min || number > range.max) throw misfit(type, value);
    this.align(range.octets);
    const at = this.claim(range.octets);
    if (range.min < 0) this.buffer.writeIntLE(number, at, range.octets);
    else this.buffer.writeUIntLE(number, at, range.octets);
  }

  private string(type: string, value: Value): void {
    if (typeof value !== 'string' || value.includes('\0')) throw misfit(type, value);
    // The bus disconnects whoever sends a malformed path.
    if (type === 'o' && !OBJECT_PATH.test(value)) throw misfit(type, value);
    const length = Buffer.byteLength(value, 'utf8');
    if (type === 'g') this.raw(Uint8Array.of(length));
    else this.unsigned32(length);
    const at = this.claim(length + 1);
    this.buffer.write(value, at, 'utf8');
    this.buffer[at + length] = 0;
  }

  private array(element: SignatureNode, value: Value): void {
    this.align(4);
    const lengthAt = this.claim(4);
    this.align(alignmentOf(element.type));
    const start = this.length;
    if (element.type === 'y' && value instanceof Uint8Array) {
      this.raw(value);
    } else if (Array.isArray(value)) {
      for (const item of value as Value[]) this.write(element, item);
    } else if (element.type === '{' && typeof value === 'object' && !(value instanceof Variant)) {
      const [keyNode, valueNode] = element.child;
      for (const [key, item] of Object.entries(value)) {
        this.align(8);
        this.write(keyNode!, key);
        this.write(valueNode!, item as Value);
      }
    } else {
      throw misfit(`array of ${element.type}`, value);
    }
    this.buffer.writeUInt32LE(this.length - start, lengthAt);
  }
}

function misfit(type: string, value: unknown): WireError {
  return new WireError(`${describe(value)} does not fit D-Bus type ${type}`);
}

function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 40));
  return typeof value === 'object' ? 'an object' : String(value);
}

/** `key` and a variant as one entry of a{sv}. Throws WireError. */
export function encodeProperty(key: string, signature: string, value: Value): Encoded {
  const writer = new Writer();
  writer.write({ type: 's', child: [] }, key);
  writer.write({ type: 'v', child: [] }, new Variant(signature, value));
  return writer.encoded();
}

/** One dictionary entry of signature `{…}`. Throws WireError. */
export function encodeEntry(signature: string, key: string, value: Value): Encoded {
  const writer = new Writer();
  writer.write(parseSignature(signature)[0]!, [key, value]);
  return writer.encoded();
}

const FIELDS: readonly (readonly [code: number, name: keyof Message, type: string])[] = [
  [1, 'path', 'o'],
  [2, 'interface', 's'],
  [3, 'member', 's'],
  [4, 'errorName', 's'],
  [5, 'replySerial', 'u'],
  [6, 'destination', 's'],
  [7, 'sender', 's'],
  [8, 'signature', 'g'],
];

/** The values as one body. Throws WireError when a value does not fit or the body is too long for a message. */
export function encodeBody(signature: string, values: readonly Value[]): EncodedBody {
  const nodes = parseSignature(signature);
  if (nodes.length !== values.length) {
    throw new WireError(`${values.length} values do not fit signature "${signature}"`);
  }
  const writer = new Writer();
  for (const [i, node] of nodes.entries()) writer.write(node, values[i]!);
  return new EncodedBody(writer.octets());
}

/** The message as octets, little-endian. Throws WireError when a value does not fit or the message is too long. */
export function encodeMessage(message: Message): Buffer {
  const [header, body] = encodeParts(message);
  return body.length === 0 ? header : Buffer.concat([header, body]);
}

/** As `encodeMessage`, header and body: a body that was written before is not copied. */
export function encodeParts(message: Message): [header: Buffer, body: Buffer] {
  const { octets } =
    message.body instanceof EncodedBody ? message.body : encodeBody(message.signature, message.body);
  const header = new Writer();
  header.raw(Uint8Array.of(0x6c, message.type, message.flags, 1));
  header.unsigned32(octets.length);
  header.unsigned32(message.serial);
  const fields: Value[] = [];
  for (const [code, name, type] of FIELDS) {
    const value = message[name] as string | number | undefined;
    if (value !== undefined && value !== '') fields.push([code, new Variant(type, value)]);
  }
  header.write(parseSignature('a(yv)')[0]!, fields);
  header.align(8);
  const start = header.octets();
  if (start.length + octets.length > MAX_MESSAGE) {
    throw new WireError(`a message is longer than ${MAX_MESSAGE} octets`);
  }
  return [start, octets];
}

class Reader {
  private readonly buffer: DBusBuffer;
  private readonly end: number;

  constructor(octets: Uint8Array, endian: number) {
    this.buffer = new DBusBuffer(octets, 0, endian, null, { ayBuffer: true });
    this.end = octets.length;
  }

  read(node: SignatureNode, depth = 0): Value {
    if (depth > MAX_DEPTH) throw new WireError('containers are nested too deeply');
    const value = this.readValue(node, depth);
    if (this.buffer.pos > this.end) throw new WireError('a value runs past the end of its message');
    return value;
  }

  private readValue(node: SignatureNode, depth: number): Value {
    switch (node.type) {
      case 'a':
        return this.array(node.child[0]!, depth);
      case '(':
      case '{':
        this.buffer.align(3);
        return node.child.map((child) => this.read(child, depth + 1));
      case 'v': {
        const signature = this.buffer.readSimpleType('g') as string;
        const [inner, ...more] = parseSignature(signature);
        if (inner === undefined || more.length > 0)
          throw new WireError(`a variant of signature "${signature}"`);
        return new Variant(signature, this.read(inner, depth + 1));
      }
      default: {
        const value = this.buffer.readSimpleType(node.type);
        if (typeof value !== 'bigint') return value;
        const narrow = Number(value);
        return Number.isSafeInteger(narrow) ? narrow : value;
      }
    }
  }

  private array(element: SignatureNode, depth: number): Value {
    const length = this.buffer.readInt32();
    if (alignmentOf(element.type) === 8) this.buffer.align(3);
    const end = this.buffer.pos + length;
    if (end > this.end) throw new WireError('an array runs past the end of its message');
    if (element.type === 'y') {
      // A copy: a view would keep the whole message alive.
      const octets = Uint8Array.from(this.buffer.buffer.subarray(this.buffer.pos, end));
      this.buffer.pos = end;
      return octets;
    }
    const items: Value[] = [];
    // No prototype: a key `__proto__` is a key like any other.
    const dictionary: Dictionary = Object.create(null);
    while (this.buffer.pos < end) {
      const before = this.buffer.pos;
      const item = this.read(element, depth + 1);
      if (this.buffer.pos === before) throw new WireError('an array of nothing');
      if (element.type === '{') {
        const [key, value] = item as [Value, Value];
        if (String(key) in dictionary) throw new WireError(`key ${describe(String(key))} is given twice`);
        dictionary[String(key)] = value;
      } else {
        items.push(item);
      }
    }
    return element.type === '{' ? dictionary : items;
  }
}

/** The length in octets of the message that starts with these 16. Throws WireError when no message can start so. */
export function messageLength(start: Buffer): number {
  const little = start[0] === 0x6c;
  if (!little && start[0] !== 0x42) throw new WireError('what came is no D-Bus message');
  const bodyLength = little ? start.readUInt32LE(4) : start.readUInt32BE(4);
  const fieldsLength = little ? start.readUInt32LE(12) : start.readUInt32BE(12);
  const length = 16 + Math.ceil(fieldsLength / 8) * 8 + bodyLength;
  if (length > MAX_RECEIVED) throw new WireError(`a message of ${length} octets`);
  return length;
}

/** Exactly one message. Throws WireError when its header cannot be read. */
export function decodeMessage(octets: Buffer): Envelope {
  try {
    const endian = octets[0]!;
    const little = endian === 0x6c;
    const bodyLength = little ? octets.readUInt32LE(4) : octets.readUInt32BE(4);
    const bodyStart = octets.length - bodyLength;
    const envelope: Envelope = {
      type: octets[1]!,
      flags: octets[2]!,
      serial: little ? octets.readUInt32LE(8) : octets.readUInt32BE(8),
      signature: '',
      bodyLength,
      readBody: () => [],
    };
    if (little && readPlainFields(octets, bodyStart, envelope)) return withBody(envelope, octets, bodyStart);
    // The fields start at 12 with their length; read them from 8 on, a multiple of 8.
    const reader = new Reader(octets.subarray(8, bodyStart), endian);
    reader.read({ type: 'u', child: [] });
    const fields = reader.read(parseSignature('a(yv)')[0]!) as [number, Variant][];
    for (const [code, variant] of fields) {
      const field = FIELDS.find((known) => known[0] === code);
      // Unknown fields must be ignored.
      if (field === undefined) continue;
      if (variant.signature !== field[2])
        throw new WireError(`header field ${field[1]} has type ${variant.signature}`);
      Object.assign(envelope, { [field[1]]: variant.value });
    }
    return withBody(envelope, octets, bodyStart);
  } catch (error) {
    throw asWireError(error);
  }
}

function withBody(envelope: Envelope, octets: Buffer, bodyStart: number): Envelope {
  envelope.readBody = () => {
    try {
      const body = new Reader(octets.subarray(bodyStart), octets[0]!);
      return parseSignature(envelope.signature).map((node) => body.read(node));
    } catch (error) {
      throw asWireError(error);
    }
  };
  return envelope;
}

/**
 * Header fields as every bus writes them, twenty times faster than with the general reader: what anybody may send is
 * to cost little. False, with `envelope` as it was, when there is anything else, for the general reader to judge.
 */
function readPlainFields(octets: Buffer, bodyStart: number, envelope: Envelope): boolean {
  const found: Record<string, string | number> = {};
  const end = 16 + octets.readUInt32LE(12);
  if (end > bodyStart) return false;
  let at = 16;
  while (at < end) {
    at = (at + 7) & ~7;
    // Code, a signature of one type, and at a multiple of 4 the value or the length of one.
    if (at + 8 > end || octets[at + 1] !== 1 || octets[at + 3] !== 0) return false;
    const field = FIELDS[octets[at]! - 1];
    if (field === undefined || octets[at + 2] !== field[2].charCodeAt(0)) return false;
    const [, name, type] = field;
    at += 4;
    if (type === 'u') {
      found[name] = octets.readUInt32LE(at);
      at += 4;
      continue;
    }
    const length = type === 'g' ? octets[at]! : octets.readUInt32LE(at);
    at += type === 'g' ? 1 : 4;
    if (at + length >= end || octets[at + length] !== 0) return false;
    found[name] = octets.toString('utf8', at, at + length);
    at += length + 1;
  }
  if (at !== end) return false;
  Object.assign(envelope, found);
  return true;
}

function asWireError(error: unknown): WireError {
  if (error instanceof WireError) return error;
  return new WireError(error instanceof Error ? error.message : String(error));
}
