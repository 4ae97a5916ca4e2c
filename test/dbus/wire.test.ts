import { createRequire } from 'node:module';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import {
  decodeMessage,
  Encoded,
  encodeMessage,
  encodeProperty,
  METHOD_CALL,
  type Message,
  messageLength,
  type Value,
  Variant,
  WireError,
} from '../../src/dbus/wire.ts';

const require = createRequire(import.meta.url);
const library = require('dbus-next') as { Variant: new (signature: string, value: unknown) => unknown };
const { marshallMessage, messageToJsFmt } = require('dbus-next/lib/marshall-compat.js');
const { unmarshall } = require('dbus-next/lib/message.js');

function call(signature: string, body: readonly Value[]): Message {
  return {
    type: METHOD_CALL,
    flags: 0,
    serial: 7,
    path: '/org/evbd1',
    interface: 'org.evbd1.Manager',
    member: 'Associate',
    destination: 'org.evbd1',
    signature,
    body,
  };
}

function roundTrip(signature: string, body: readonly Value[]): Value[] {
  return decodeMessage(encodeMessage(call(signature, body))).readBody();
}

const SAMPLES: readonly (readonly [string, readonly Value[]])[] = [
  ['', []],
  ['y', [255]],
  ['b', [true]],
  ['nq', [-32768, 65535]],
  ['iu', [-2147483648, 4294967295]],
  ['yx', [1, -5]],
  ['yt', [1, 2 ** 53 - 1]],
  ['t', [2n ** 64n - 1n]],
  // One more than the least, which dbus-next takes for out of range.
  ['x', [-(2n ** 63n) + 1n]],
  ['yd', [1, 0.1]],
  ['sog', ['Grüße', '/org/evbd1', 'a{sv}']],
  ['ayas', [Uint8Array.of(1, 2, 3), ['', 'b']]],
  ['yat', [1, []]],
  [
    'a(yt)',
    [
      [
        [1, 2],
        [3, 4],
      ],
    ],
  ],
  ['yaay', [1, [Uint8Array.of(1), Uint8Array.of()]]],
  ['a{st}', [{ one: 1, two: 2 }]],
  ['v', [new Variant('a{sd}', { ackTimer: 0.5 })]],
  ['aa{sv}', [[{ vid: new Variant('q', 4), mac: new Variant('s', '52:54:00:00:00:01') }, {}]]],
  ['a{oa{sa{sv}}}', [{ '/org/evbd1': { 'org.evbd1.Manager': { Version: new Variant('s', '1') } } }]],
];

describe('wire', () => {
  test.each(SAMPLES)('%s is read back', (signature, body) => {
    expect(roundTrip(signature, body)).toEqual(body);
  });

  test.each(SAMPLES.filter(([, body]) => body.length > 0))(
    '%s is written as dbus-next writes it',
    (signature, body) => {
      const theirs = (value: unknown): unknown => {
        if (value instanceof Variant) return new library.Variant(value.signature, theirs(value.value));
        if (value instanceof Uint8Array) return Buffer.from(value);
        if (Array.isArray(value)) return value.map(theirs);
        if (typeof value !== 'object' || value === null) return value;
        return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, theirs(item)]));
      };
      const [expected] = marshallMessage({ ...call(signature, body), body: body.map(theirs) });
      const read = (octets: Buffer) => {
        const { body: got, ...header } = messageToJsFmt(unmarshall(octets));
        return { ...header, body: got };
      };
      expect(read(encodeMessage(call(signature, body)))).toEqual(read(expected));
    },
  );

  test('an entry written before fits anywhere', () => {
    const entry = encodeProperty('Name', 's', 'eth1');
    expect(entry).toBeInstanceOf(Encoded);
    const body = roundTrip('ya{sv}', [1, [entry, entry].slice(0, 1)]);
    expect(body[1]).toEqual({ Name: new Variant('s', 'eth1') });
  });

  test.each<[string, Value]>([
    ['y', 256],
    ['q', -1],
    ['u', 1.5],
    ['u', 4294967296],
    ['i', 'one'],
    ['t', -1],
    ['x', 2n ** 63n],
    ['t', 0.5],
    ['d', 'x'],
    ['b', 1],
    ['s', 'with\0nul'],
    ['s', 5],
    ['o', 'no/path'],
    ['o', '/trailing/'],
    ['v', 'bare'],
    ['v', new Variant('ss', 'two')],
    ['h', 0],
    ['as', 'text'],
    ['(ss)', ['one']],
  ])('%s does not take %o', (signature, value) => {
    expect(() => encodeMessage(call(signature, [value]))).toThrow(WireError);
  });

  test('too few values', () => {
    expect(() => encodeMessage(call('ss', ['one']))).toThrow(WireError);
  });

  test('a message longer than the system bus takes', () => {
    expect(() => encodeMessage(call('ay', [new Uint8Array(33 * 1024 * 1024)]))).toThrow(/longer than/);
  });

  test('__proto__ is a key like any other', () => {
    const entries = [['__proto__', new Variant('s', 'x')]] as unknown as Value;
    const [dictionary] = roundTrip('a{sv}', [entries]);
    expect(Object.keys(dictionary as object)).toEqual(['__proto__']);
  });

  test('a key given twice', () => {
    const entries = [
      ['a', 1],
      ['a', 2],
    ];
    expect(() => roundTrip('a{sy}', [entries])).toThrow('key "a" is given twice');
  });

  test('variants inside each other end at a depth', () => {
    let value: Value = 1;
    let signature = 'y';
    for (let i = 0; i < 70; i++) {
      value = new Variant(signature, value);
      signature = 'v';
    }
    expect(() => roundTrip('v', [value])).toThrow('nested too deeply');
  });

  test('big-endian messages are read', () => {
    const little = encodeMessage(call('u', [1]));
    const octets = Buffer.from(little);
    octets[0] = 0x42;
    // Every 32-bit number of this message, in its place.
    for (const at of [4, 8, 12, octets.length - 4]) octets.writeUInt32BE(little.readUInt32LE(at), at);
    for (let at = 16; at < octets.length - 8; ) {
      const type = String.fromCharCode(octets[at + 2]!);
      if (type === 'g') break;
      const length = little.readUInt32LE(at + 4);
      octets.writeUInt32BE(length, at + 4);
      at = Math.ceil((at + 8 + length + 1) / 8) * 8;
    }
    expect(messageLength(octets)).toBe(octets.length);
    const message = decodeMessage(octets);
    expect(message.member).toBe('Associate');
    expect(message.readBody()).toEqual([1]);
  });

  test('a header field that we do not know changes nothing about the others', () => {
    const plain = encodeMessage(call('u', [1]));
    const fields = plain.readUInt32LE(12);
    // UNIX_FDS, code 9, after the others.
    const unknown = Buffer.from([9, 1, 'u'.charCodeAt(0), 0, 0, 0, 0, 0]);
    const start = Math.ceil((16 + fields) / 8) * 8;
    const octets = Buffer.concat([plain.subarray(0, start), unknown, plain.subarray(start)]);
    octets.writeUInt32LE(start - 16 + unknown.length, 12);
    const { readBody: readPlain, ...expected } = decodeMessage(plain);
    const { readBody, ...found } = decodeMessage(octets);
    expect(found).toEqual(expected);
    expect(readBody()).toEqual(readPlain());
    // Of another type than it must be.
    const wrong = Buffer.from(plain);
    wrong[16 + 2] = 's'.charCodeAt(0);
    expect(() => decodeMessage(wrong)).toThrow(WireError);
  });

  test('any octets are a message or a WireError', () => {
    const samples = SAMPLES.map(([signature, body]) => encodeMessage(call(signature, body)));
    const damaged = fc
      .tuple(
        fc.constantFrom(...samples),
        fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 8 }),
      )
      .map(([sample, changes]) => {
        const octets = Buffer.from(sample);
        for (const [at, octet] of changes) octets[at % octets.length] = octet;
        return octets;
      });
    fc.assert(
      fc.property(
        fc.oneof(damaged, fc.uint8Array({ minLength: 16, maxLength: 200 }).map(Buffer.from)),
        (octets) => {
          try {
            decodeMessage(octets as Buffer).readBody();
          } catch (error) {
            if (!(error instanceof WireError)) throw error;
          }
        },
      ),
      { numRuns: 3000 },
    );
  });
});
