/** What holds for every netlink message, well-formed or not. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DecodeError, macFromOctets } from '../../protocols/octets/index.ts';
import {
  Attributes,
  decodeCompletion,
  decodeFdbEntry,
  decodeLink,
  decodeMessages,
  encodeMessage,
  encodeNewFdbEntry,
  encodeSetBridgePort,
  HostReader,
  HostWriter,
  IFLA_BRPORT_LEARNING,
  IFLA_BRPORT_LOCKED,
  IFLA_BRPORT_MODE,
  IFLA_PROTINFO,
  type NetlinkHeader,
} from '../../protocols/rtnetlink/index.ts';
import { damaged } from '../support/damaged.ts';

const u32 = fc.nat(0xffffffff);
const header: fc.Arbitrary<NetlinkHeader> = fc.record({
  type: fc.nat(0xffff),
  flags: fc.nat(0xffff),
  sequence: u32,
  portId: u32,
});
const message = fc.record({ header, payload: fc.uint8Array({ maxLength: 60 }) });
const attribute = fc.record({ type: fc.nat(0x3fff), value: fc.uint8Array({ maxLength: 40 }) });

function written(attributes: readonly { type: number; value: Uint8Array }[]): Uint8Array {
  const writer = new HostWriter();
  for (const { type, value } of attributes) writer.attribute(type, (inner) => inner.octets(value));
  return writer.finish();
}

describe('messages', () => {
  it('one datagram with several is read as they were written', () => {
    fc.assert(
      fc.property(fc.array(message, { maxLength: 4 }), (messages) => {
        const datagram = Uint8Array.from(
          messages.flatMap((each) => [...encodeMessage(each.header, each.payload)]),
        );
        const read = decodeMessages(datagram);
        expect(
          read.map(({ payload, ...rest }) => ({ header: rest, payload: payload.clone().rest() })),
        ).toEqual(messages);
      }),
    );
  });

  it('any payload of any type: read, or a DecodeError', () => {
    const bodies = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      damaged(
        fc
          .array(attribute, { maxLength: 5 })
          .map((list) => Uint8Array.of(...new Uint8Array(16), ...written(list))),
      ),
    );
    fc.assert(
      fc.property(header, bodies, (each, payload) => {
        const [read] = decodeMessages(encodeMessage(each, payload));
        for (const decode of [decodeLink, decodeFdbEntry, decodeCompletion]) {
          try {
            decode(read!);
          } catch (error) {
            expect(error).toBeInstanceOf(DecodeError);
          }
        }
      }),
      { numRuns: 1000 },
    );
  });
});

describe('attributes', () => {
  it('come back as written; of those of one type the last counts', () => {
    fc.assert(
      fc.property(fc.array(attribute, { maxLength: 8 }), (list) => {
        const read = new Attributes(new HostReader(written(list)));
        for (const { type } of list) {
          expect(read.has(type)).toBe(true);
          expect(read.octets(type)).toEqual(list.findLast((other) => other.type === type)!.value);
        }
      }),
    );
  });
});

describe('requests, read as the kernel would', () => {
  it('a new FDB entry is a static one at its port', () => {
    const mac = fc.uint8Array({ minLength: 6, maxLength: 6 }).map(macFromOctets);
    const vlan = fc.option(fc.integer({ min: 1, max: 4094 }), { nil: undefined });
    fc.assert(
      fc.property(fc.nat(0x7fffffff), mac, vlan, (port, address, vid) => {
        const octets = encodeMessage(
          { type: 28, flags: 0, sequence: 1, portId: 0 },
          encodeNewFdbEntry(port, address, vid),
        );
        const entry = decodeFdbEntry(decodeMessages(octets)[0]!);
        const vlans = vid === undefined ? {} : { vlan: vid };
        expect(entry).toEqual({
          port,
          mac: address,
          kind: 'static',
          self: false,
          sticky: false,
          externLearn: false,
          ...vlans,
        });
      }),
    );
  });

  it('a change of a bridge port holds the flags that were given, and no others', () => {
    const change = fc.record(
      { hairpin: fc.boolean(), learning: fc.boolean(), locked: fc.boolean() },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fc.nat(0x7fffffff), change, (index, flags) => {
        const reader = new HostReader(encodeSetBridgePort(index, flags));
        reader.sub(16, 'struct ifinfomsg');
        const port = new Attributes(reader).nested(IFLA_PROTINFO)!;
        const flag = (type: number) => port.u8(type);
        const number = (on: boolean | undefined) => (on === undefined ? undefined : Number(on));
        expect([flag(IFLA_BRPORT_MODE), flag(IFLA_BRPORT_LEARNING), flag(IFLA_BRPORT_LOCKED)]).toEqual(
          [flags.hairpin, flags.learning, flags.locked].map(number),
        );
      }),
    );
  });
});
