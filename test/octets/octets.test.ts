import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  DecodeError,
  fromHex,
  isGroupMac,
  type MacAddress,
  macFromOctets,
  macToOctets,
  OctetReader,
  OctetWriter,
  parseMac,
  parseUuid,
  readTlv,
  sameOctets,
  toHex,
  uuidFromOctets,
  uuidToOctets,
  writeTlv,
} from '../../protocols/octets/index.ts';

const octets = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });

describe('OctetReader', () => {
  test('reads big-endian and unsigned', () => {
    const reader = new OctetReader(fromHex('ff' + 'fffe' + 'fffffd' + 'fffffffc' + '0102')!);
    expect(reader.u8('a')).toBe(0xff);
    expect(reader.u16('b')).toBe(0xfffe);
    expect(reader.u24('c')).toBe(0xfffffd);
    expect(reader.u32('d')).toBe(0xfffffffc);
    expect(reader.offset).toBe(10);
    expect(reader.rest()).toEqual(Uint8Array.of(1, 2));
    expect(reader.remaining).toBe(0);
  });

  test.each([
    ['u8', 0, (reader: OctetReader) => reader.u8('x')],
    ['u16', 1, (reader: OctetReader) => reader.u16('x')],
    ['u24', 2, (reader: OctetReader) => reader.u24('x')],
    ['u32', 3, (reader: OctetReader) => reader.u32('x')],
    ['take', 4, (reader: OctetReader) => reader.take(5, 'x')],
    ['sub', 4, (reader: OctetReader) => reader.sub(5, 'x')],
  ])('%s beyond the end is a DecodeError that says where', (_, length, read) => {
    const reader = new OctetReader(new Uint8Array(2 + length), 2);
    expect(() => read(reader)).toThrow(DecodeError);
    expect(() => read(reader)).toThrow(/x: .* \(at octet 2\)/);
  });

  test('a sub-reader ends where it was cut and counts offsets like its parent', () => {
    const reader = new OctetReader(fromHex('0001020304')!);
    reader.u8('first');
    const sub = reader.sub(2, 'sub');
    expect(sub.offset).toBe(1);
    expect(sub.u16('both')).toBe(0x0102);
    expect(() => sub.u8('beyond')).toThrow(/at octet 3/);
    expect(reader.u16('after')).toBe(0x0304);
  });

  test('what was taken is a copy', () => {
    const source = Uint8Array.of(1, 2, 3);
    const taken = new OctetReader(source).take(2, 'two');
    source[0] = 9;
    expect(taken).toEqual(Uint8Array.of(1, 2));
  });
});

describe('OctetWriter', () => {
  test('writes what the reader reads, however small it began', () => {
    fc.assert(
      fc.property(
        fc.nat(0xff),
        fc.nat(0xffff),
        fc.nat(0xffffff),
        fc.integer({ min: 0, max: 0xffffffff }),
        fc.uint8Array({ maxLength: 300 }),
        (a, b, c, d, e) => {
          const written = new OctetWriter(1).u8(a).u16(b).u24(c).u32(d).octets(e).finish();
          const reader = new OctetReader(written);
          expect([reader.u8(''), reader.u16(''), reader.u24(''), reader.u32('')]).toEqual([a, b, c, d]);
          expect(reader.rest()).toEqual(e);
        },
      ),
    );
  });

  test.each([
    ['u8', 256],
    ['u16', 65536],
    ['u24', 2 ** 24],
    ['u32', 2 ** 32],
    ['u8', -1],
    ['u32', 1.5],
    ['u16', Number.NaN],
  ] as const)('%s(%d) is a RangeError', (method, value) => {
    expect(() => new OctetWriter()[method](value)).toThrow(RangeError);
  });

  test('padTo fills with zeros, and never shortens', () => {
    expect(new OctetWriter(1).u8(7).padTo(3).finish()).toEqual(Uint8Array.of(7, 0, 0));
    expect(new OctetWriter().u32(1).padTo(3).length).toBe(4);
  });
});

describe('TLV header: type 7 bits, length 9 bits', () => {
  test('every type and length', () => {
    fc.assert(
      fc.property(fc.nat(127), fc.nat(511), (type, length) => {
        const writer = new OctetWriter();
        writeTlv(writer, type, new Uint8Array(length).fill(type));
        const reader = new OctetReader(writer.finish());
        const tlv = readTlv(reader);
        expect([tlv.type, tlv.value.remaining, reader.remaining]).toEqual([type, length, 0]);
      }),
    );
  });

  test('lldp.md 2: lengths above 255 show in the lowest bit of the first octet', () => {
    const writer = new OctetWriter();
    writeTlv(writer, 1, new Uint8Array(256));
    expect(toHex(writer.finish().subarray(0, 2))).toBe('0300');
  });

  test('512 octets do not fit', () => {
    expect(() => writeTlv(new OctetWriter(), 127, new Uint8Array(512))).toThrow(RangeError);
  });

  test('a TLV that runs beyond the end is a DecodeError', () => {
    expect(() => readTlv(new OctetReader(fromHex('0203ffff')!))).toThrow(DecodeError);
    expect(() => readTlv(new OctetReader(fromHex('02')!))).toThrow(DecodeError);
  });
});

describe('addresses', () => {
  test('MAC, UUID and hex are the same octets there and back', () => {
    fc.assert(
      fc.property(octets(6), octets(16), (mac, uuid) => {
        expect(macToOctets(macFromOctets(mac))).toEqual(mac);
        expect(parseMac(macFromOctets(mac).toUpperCase().replaceAll(':', '-'))).toBe(macFromOctets(mac));
        expect(uuidToOctets(uuidFromOctets(uuid))).toEqual(uuid);
        expect(parseUuid(uuidFromOctets(uuid).toUpperCase())).toBe(uuidFromOctets(uuid));
        expect(fromHex(toHex(uuid))).toEqual(uuid);
      }),
    );
  });

  test.each([
    '',
    '52:54:00:0a:0b',
    '52:54:00:0a:0b:0c:0d',
    '52:54:00:a:b:c',
    '52540000a0b0c',
    'g2:54:00:0a:0b:0c',
  ])('"%s" is no MAC address', (text) => expect(parseMac(text)).toBeUndefined());

  test.each([
    '',
    '9d3f1c2075b14e0ea4c66b1f20d7e359',
    '9d3f1c20-75b1-4e0e-a4c6-6b1f20d7e35',
    ' 9d3f1c20-75b1-4e0e-a4c6-6b1f20d7e359',
  ])('"%s" is no UUID', (text) => expect(parseUuid(text)).toBeUndefined());

  test.each(['0', '0g', '0 0'])('"%s" is no hex', (text) => expect(fromHex(text)).toBeUndefined());

  test('a wrong number of octets is a DecodeError', () => {
    expect(() => macFromOctets(new Uint8Array(5))).toThrow(DecodeError);
    expect(() => uuidFromOctets(new Uint8Array(17))).toThrow(DecodeError);
  });

  test.each([
    ['01:80:c2:00:00:00', true],
    ['ff:ff:ff:ff:ff:ff', true],
    ['52:54:00:0a:0b:0c', false],
    ['02:00:00:00:00:01', false],
  ])('group bit of %s: %s', (mac, group) => expect(isGroupMac(mac as MacAddress)).toBe(group));

  test('sameOctets compares length and content', () => {
    expect(sameOctets(Uint8Array.of(1, 2), Uint8Array.of(1, 2))).toBe(true);
    expect(sameOctets(Uint8Array.of(1, 2), Uint8Array.of(1, 3))).toBe(false);
    expect(sameOctets(Uint8Array.of(1), Uint8Array.of(1, 2))).toBe(false);
  });
});

test('what OctetReader takes is a copy, of a Buffer too', () => {
  const octets = Buffer.from([1, 2, 3]);
  const taken = new OctetReader(octets).take(2, 'two');
  octets.fill(0);
  expect([...taken]).toEqual([1, 2]);
});

test('a group address is told by the lowest bit of the first octet', () => {
  expect(isGroupMac('10:00:00:00:00:00' as MacAddress)).toBe(false);
  expect(isGroupMac('f1:00:00:00:00:00' as MacAddress)).toBe(true);
});

test.each(['9d3f1c20-75b1-4e0e-a4c6-6b1f20d7e3590'])('"%s" is no UUID', (text) => {
  expect(parseUuid(text)).toBeUndefined();
});

test('a reader whose end lies before its start has nothing, and says so', () => {
  expect(() => new OctetReader(Uint8Array.of(1, 2), 2, 1).u8('x')).toThrow(
    'x: 1 octets wanted, 0 left (at octet 2)',
  );
});

test('a writer takes what is longer than twice its room', () => {
  expect(new OctetWriter(1).octets(Uint8Array.of(1, 2, 3)).finish()).toEqual(Uint8Array.of(1, 2, 3));
});

test('u24 reads the last three octets', () => {
  expect(new OctetReader(Uint8Array.of(1, 2, 3)).u24('x')).toBe(0x010203);
});

test('hex has two digits an octet', () => {
  expect(toHex(Uint8Array.of(0x00, 0x0f, 0x10, 0xff))).toBe('000f10ff');
});
