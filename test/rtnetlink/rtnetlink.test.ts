import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DecodeError, fromHex, type MacAddress, toHex } from '../../protocols/octets/index.ts';
import * as k from '../../protocols/rtnetlink/constants.ts';
import {
  Attributes,
  decodeCompletion,
  decodeFdbEntry,
  decodeLink,
  decodeMessages,
  encodeDelFdbEntry,
  encodeDumpFdb,
  encodeGetLink,
  encodeMessage,
  encodeNewFdbEntry,
  encodeSetBridgePort,
  encodeSetMacvlanMode,
  HostReader,
  HostWriter,
  type NetlinkMessage,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_REPLACE,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  RTM_NEWNEIGH,
} from '../../protocols/rtnetlink/index.ts';

/**
 * Datagrams of Linux 6.18, x86-64: bridge br0 with port swp1, whose other end eth1 carries the VEPA macvlan guest0; each
 * value is what one request was answered with, or the events that one command caused.
 */
const recorded: Record<string, string[]> = JSON.parse(
  readFileSync(new URL('recorded.json', import.meta.url), 'utf8'),
);

const mac = (text: string) => text as MacAddress;
const octets = (hex: string) => fromHex(hex.replaceAll(/\s/g, ''))!;
const messagesOf = (name: string) => recorded[name]!.flatMap((hex) => decodeMessages(fromHex(hex)!));
const isEnd = ({ type }: NetlinkMessage) => type === NLMSG_ERROR || type === NLMSG_DONE;
const linksOf = (name: string) =>
  messagesOf(name)
    .filter((message) => !isEnd(message))
    .map(decodeLink);
const fdbOf = (name: string) =>
  messagesOf(name)
    .filter((message) => !isEnd(message))
    .map(decodeFdbEntry);
const endOf = (name: string) => decodeCompletion(messagesOf(name).find(isEnd)!);

describe('links from the kernel', () => {
  const links = new Map(linksOf('links').map(({ link }) => [link.name, link]));

  it('reads a dump to its end', () => {
    expect([...links.keys()]).toEqual(['lo', 'br0', 'eth1', 'swp1', 'guest0']);
    expect(endOf('links')).toEqual({ errno: 0 });
  });

  it('reads a bridge port with its flags', () => {
    expect(links.get('swp1')).toEqual({
      index: 4,
      name: 'swp1',
      mac: '02:00:00:00:01:01',
      mtu: 1500,
      up: true,
      running: true,
      lowerUp: true,
      operState: 'up',
      master: 2,
      parent: 3,
      kind: 'veth',
      bridgePort: {
        state: 'forwarding',
        hairpin: false,
        learning: true,
        flood: true,
        mcastFlood: true,
        bcastFlood: true,
        guard: false,
        rootBlock: false,
        isolated: false,
        neighSuppress: false,
        proxyArp: false,
        groupForwardMask: 0,
        locked: false,
      },
    });
  });

  it('reads a bridge and a VEPA macvlan', () => {
    expect(links.get('br0')).toMatchObject({
      kind: 'bridge',
      bridge: { stpState: 0, vlanFiltering: false, groupForwardMask: 0 },
    });
    expect(links.get('guest0')).toMatchObject({ kind: 'macvlan', macvlanMode: 'vepa', parent: 3, up: false });
  });

  it('reads by which tags a VLAN-aware bridge goes', () => {
    const bridge = (protocol: string) => {
      const writer = new HostWriter()
        .u8(0)
        .u8(0)
        .u16(1)
        .s32(7)
        .u32(0)
        .u32(0)
        .nested(k.IFLA_LINKINFO, (info) =>
          info.text(k.IFLA_INFO_KIND, 'bridge').nested(k.IFLA_INFO_DATA, (data) => {
            data.attribute(k.IFLA_BR_VLAN_FILTERING, (w) => w.u8(1));
            data.attribute(k.IFLA_BR_VLAN_PROTOCOL, (w) => w.octets(octets(protocol)));
          }),
        );
      const header = { type: k.RTM_NEWLINK, flags: 0, sequence: 1, portId: 0 };
      const [message] = decodeMessages(encodeMessage(header, writer.finish()));
      return decodeLink(message!).link.bridge;
    };
    expect(bridge('88a8')).toMatchObject({ vlanFiltering: true, vlanProtocol: '802.1ad' });
    expect(bridge('8100')).toMatchObject({ vlanFiltering: true, vlanProtocol: '802.1q' });
    expect(bridge('9100')).not.toHaveProperty('vlanProtocol');
  });

  it('reads a change of a flag, told as a message about the port', () => {
    const [event] = linksOf('hairpinOn');
    expect(event).toMatchObject({ deleted: false, family: 'bridge', link: { index: 4, master: 2 } });
    expect(event!.link.bridgePort!.hairpin).toBe(true);
    expect(event!.link).not.toHaveProperty('kind');
  });

  it('tells a move to another namespace from a deletion', () => {
    expect(linksOf('moved')).toMatchObject([
      { deleted: true, family: 'link', link: { name: 'guest1' }, newNamespaceId: 0, newIndex: 5 },
    ]);
    for (const event of linksOf('deleted')) expect(event).not.toHaveProperty('newNamespaceId');
  });

  it('tells a port that left its bridge from a deletion', () => {
    const events = linksOf('leftBridge').filter(({ link }) => link.name === 'swp1');
    expect(events.map(({ deleted, family }) => [deleted, family])).toContainEqual([true, 'bridge']);
    expect(events.at(-1)).toMatchObject({ deleted: false, family: 'link' });
    expect(events.at(-1)!.link).not.toHaveProperty('master');
    expect(events.at(-1)!.link).not.toHaveProperty('bridgePort');
  });

  it('has no parent where a veth has lost its other end', () => {
    for (const { link } of linksOf('deleted')) expect(link).not.toHaveProperty('parent');
  });
});

describe('FDB entries from the kernel', () => {
  it('reads learnt, static and permanent entries and the filter of the device', () => {
    const seen = fdbOf('fdb').map((entry) => [
      entry!.mac,
      entry!.kind,
      entry!.self,
      entry!.port,
      entry!.bridge,
    ]);
    expect(seen).toContainEqual(['52:54:00:00:00:02', 'learnt', false, 4, 2]);
    expect(seen).toContainEqual(['52:54:00:00:00:01', 'static', false, 4, 2]);
    expect(seen).toContainEqual(['02:00:00:00:01:01', 'permanent', false, 4, 2]);
    expect(seen).toContainEqual(['33:33:00:00:00:01', 'permanent', true, 4, undefined]);
  });

  it('reads a single one and its acknowledgement', () => {
    expect(fdbOf('fdbEntry')).toMatchObject([{ mac: '52:54:00:00:00:01', kind: 'static' }]);
    expect(endOf('fdbEntry')).toEqual({ errno: 0 });
  });

  it('leaves neighbours of other families aside', () => {
    const neighbour = new HostWriter().u8(2).u8(0).u16(0).s32(4).u16(2).u8(0).u8(1).finish();
    expect(decodeFdbEntry(messageOf(neighbour, RTM_NEWNEIGH))).toBeUndefined();
  });
});

describe('the end of a request', () => {
  it('has the number and the words of the kernel', () => {
    expect(endOf('noFdbEntry')).toEqual({ errno: 2, text: 'Fdb entry not found' });
    expect(endOf('noDevice')).toEqual({ errno: 19, text: 'unknown ifindex' });
    expect(endOf('acknowledged')).toEqual({ errno: 0 });
  });

  it('finds the words behind a request that was left out, and at the end of a dump', () => {
    const words = new HostWriter()
      .text(1, 'no')
      .attribute(2, (w) => w.u32(20))
      .finish();
    const header = new HostWriter().u32(64).u16(19).u16(5).u32(7).u32(0).finish();
    const capped = new HostWriter().s32(-1).octets(header).octets(words).finish();
    const expected = { errno: 1, text: 'no', attributeOffset: 20 };
    expect(decodeCompletion(messageOf(capped, NLMSG_ERROR, 0x300))).toEqual(expected);
    const done = new HostWriter().s32(-1).octets(words).finish();
    expect(decodeCompletion(messageOf(done, NLMSG_DONE, 0x202))).toEqual(expected);
    expect(decodeCompletion(messageOf(new Uint8Array(0), NLMSG_DONE))).toEqual({ errno: 0 });
  });
});

describe('requests', () => {
  const request = (type: number, flags: number, payload: Uint8Array) =>
    encodeMessage({ type, flags: flags | NLM_F_REQUEST, sequence: 0x01020304, portId: 0 }, payload);

  it('asks for a link by index, by name, for all', () => {
    expect(toHex(encodeGetLink(4))).toBe(
      '00000000 04000000 00000000 00000000 08001d0008000000'.replaceAll(' ', ''),
    );
    expect(toHex(encodeGetLink('swp1'))).toContain('0900030073777031 00000000'.replaceAll(' ', ''));
    expect(encodeGetLink()).toEqual(encodeGetLink(0));
  });

  it('sets the given flags of a bridge port and no others', () => {
    const header = '07000000 04000000 00000000 00000000';
    expect(encodeSetBridgePort(4, { hairpin: true })).toEqual(octets(`${header} 0c000c80 0500040001000000`));
    expect(encodeSetBridgePort(4, { locked: true, learning: false, flush: true })).toEqual(
      octets(`${header} 18000c80 0500080000000000 0500270001000000 04001800`),
    );
  });

  it('enters a static address at a port, replacing', () => {
    const octetsOf = request(
      RTM_NEWNEIGH,
      NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE,
      encodeNewFdbEntry(4, mac('52:54:00:00:00:01'), 10),
    );
    expect(octetsOf).toEqual(
      octets(
        `30000000 1c00 0505 04030201 00000000 07000000 04000000 4000 04 00 0a000200525400000001 0000 06000500 0a00 0000`,
      ),
    );
  });

  it('deletes and lists', () => {
    expect(encodeDelFdbEntry(4, mac('52:54:00:00:00:01'))).toEqual(
      octets('07000000 04000000 0000 04 00 0a000200525400000001 0000'),
    );
    expect(encodeDumpFdb(4)).toEqual(octets('07000000 04000000 0000 00 00'));
  });

  it('reads whether a member of a bond carries its frames; a team does not say', () => {
    const member = (of: string, state?: number) => {
      const payload = new HostWriter()
        .octets(octets('00000000 04000000 00000000 00000000'))
        .nested(18, (info) => {
          info.text(4, of);
          if (state !== undefined) info.nested(5, (data) => data.attribute(1, (w) => w.u8(state)));
        })
        .finish();
      return decodeLink(messageOf(payload, 16)).link.member;
    };
    expect(member('bond', 0)).toEqual({ of: 'bond', active: true });
    expect(member('bond', 1)).toEqual({ of: 'bond', active: false });
    expect(member('bond')).toEqual({ of: 'bond', active: false });
    expect(member('team')).toEqual({ of: 'team' });
    expect(member('bridge')).toBeUndefined();
  });

  it("reads the VLANs of a bridge's port, which come with its events as single ones and ranges", () => {
    const vlans = (family: number, ...infos: [flags: number, vid: number][]) => {
      const header = new HostWriter().u8(family).u8(0).u16(0).s32(4).u32(0).u32(0);
      const payload = header
        .nested(26, (spec) => {
          for (const [flags, vid] of infos) spec.attribute(2, (info) => info.u16(flags).u16(vid));
        })
        .finish();
      return decodeLink(messageOf(payload, 16)).link.vids;
    };
    // The flags beside those of ranges are PVID and untagged.
    expect(vlans(7, [6, 1], [0, 10], [8, 20], [16, 22], [8, 4093], [0x14, 4094])).toEqual([
      ...[1, 10, 20, 21, 22, 4093, 4094],
    ]);
    expect(vlans(7, [8, 100])).toEqual([100]);
    expect(vlans(7, [16, 0xffff])?.length).toBe(4096);
    expect(vlans(7)).toEqual([]);
    expect(vlans(0, [0, 10])).toBeUndefined();
    expect(() =>
      decodeLink(messageOf(octets('07000000 04000000 00000000 00000000 0a00 1a00 0600 0200 0000 0000'), 16)),
    ).toThrow(DecodeError);
  });

  it('changes the mode of a macvlan', () => {
    const link = decodeLink(messageOf(encodeSetMacvlanMode(5, 'macvtap', 'bridge'), 16)).link;
    expect(link).toMatchObject({ index: 5, kind: 'macvtap', macvlanMode: 'bridge' });
  });

  it('refuses what does not fit', () => {
    expect(() => new HostWriter().u8(256)).toThrow(RangeError);
    expect(() => new HostWriter().attribute(1, (w) => w.octets(new Uint8Array(0x10000)))).toThrow(RangeError);
  });
});

describe('attributes', () => {
  const nest = () =>
    new HostWriter()
      .attribute(1, (w) => w.u8(1))
      .nested(2, (w) => w.attribute(7, (v) => v.u16(70)))
      .nested(2, (w) => w.attribute(7, (v) => v.u16(71)).attribute(8, () => {}))
      .text(3, 'swp1')
      .attribute(4, (w) => w.s32(-1))
      .finish();

  it('come back as written, as often as they are read', () => {
    const attributes = new Attributes(new HostReader(nest()));
    for (let again = 0; again < 2; again++) {
      expect(attributes.u8(1)).toBe(1);
      expect(attributes.allNested(2).map((port) => port.u16(7))).toEqual([70, 71]);
      expect(attributes.nested(2)!.has(8)).toBe(true);
      expect(attributes.text(3)).toBe('swp1');
      expect([attributes.s32(4), attributes.u32(4)]).toEqual([-1, 0xffffffff]);
      expect(attributes.u32(9)).toBeUndefined();
    }
  });

  it.each([
    ['a length shorter than its own header', '03000100', 'attribute 1: a length of 3 octets'],
    ['a length past the end', '0c000100 00000000', 'attribute 1: 8 octets wanted, 4 left'],
  ])('with %s are refused', (_, hex, reason) => {
    expect(() => new Attributes(new HostReader(octets(hex)))).toThrow(reason);
  });

  it('shorter than their type are refused where they are', () => {
    const attributes = new Attributes(new HostReader(octets('05000100 07000000')));
    expect(() => attributes.u32(1)).toThrow(new DecodeError('attribute 1: 4 octets wanted, 1 left', 4));
  });
});

describe('whatever arrives', () => {
  /** A value or DecodeError; all else fails the test. */
  const survive = (datagram: Uint8Array) => {
    try {
      for (const message of decodeMessages(datagram)) {
        for (const decode of [decodeLink, decodeFdbEntry, decodeCompletion]) {
          try {
            decode(message);
          } catch (error) {
            if (!(error instanceof DecodeError)) throw error;
          }
        }
      }
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
    }
  };

  it('random octets do no harm', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), survive), { numRuns: 2000 });
    const whole = fc.uint8Array({ maxLength: 300 }).map((payload) => {
      return encodeMessage({ type: 16, flags: 0x200, sequence: 1, portId: 0 }, payload);
    });
    fc.assert(fc.property(whole, survive), { numRuns: 2000 });
  });

  it('recorded datagrams with changed or missing octets do no harm', () => {
    const datagrams = Object.values(recorded)
      .flat()
      .map((hex) => fromHex(hex)!);
    const damage = fc.record({
      datagram: fc.constantFrom(...datagrams),
      changes: fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 8 }),
      cut: fc.nat(),
    });
    fc.assert(
      fc.property(damage, ({ datagram, changes, cut }) => {
        const damaged = datagram.slice(0, datagram.length - (cut % 3 === 0 ? cut % datagram.length : 0));
        for (const [at, value] of changes) damaged[at % damaged.length] = value;
        survive(damaged);
      }),
      { numRuns: 3000 },
    );
  });
});

function messageOf(payload: Uint8Array, type: number, flags = 0): NetlinkMessage {
  return decodeMessages(encodeMessage({ type, flags, sequence: 1, portId: 0 }, payload))[0]!;
}
