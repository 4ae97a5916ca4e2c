import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as nft from '../../protocols/nftables/index.ts';
import { DecodeError, fromHex, toHex } from '../../protocols/octets/index.ts';
import {
  decodeMessages,
  encodeMessage,
  HostWriter,
  type NetlinkMessage,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_REQUEST,
} from '../../protocols/rtnetlink/index.ts';
import { damaged } from '../support/damaged.ts';

/** What an encoder wrote, as it comes out of a socket. */
function received({ type, payload }: Pick<nft.NftChange, 'type' | 'payload'>): NetlinkMessage {
  return decodeMessages(encodeMessage({ type, flags: 0, sequence: 1, portId: 7 }, payload))[0]!;
}

const hex = (text: string) => fromHex(text.replaceAll(/\s/g, ''))!;

const expression: fc.Arbitrary<nft.NftExpression> = fc.oneof(
  fc.record({
    kind: fc.constant('payload' as const),
    offset: fc.nat(0xffff),
    length: fc.integer({ min: 1, max: 16 }),
  }),
  fc.record({ kind: fc.constant('meta' as const), key: fc.constantFrom('iif' as const, 'oif' as const) }),
  fc.record({ kind: fc.constant('equals' as const), octets: fc.uint8Array({ minLength: 1, maxLength: 16 }) }),
  fc.record({ kind: fc.constant('in' as const), set: fc.stringMatching(/^[a-z]{1,20}$/) }),
  fc.constant({ kind: 'drop' as const }),
);

describe('changes', () => {
  // As `nft --debug=mnl` shows what nft(8) sends for the same.
  it('are written as nft(8) writes them', () => {
    expect(toHex(nft.newTable('evbd').payload)).toBe(
      toHex(hex('07000000 0900 0100 6576626400000000 0800 0200 00000000')),
    );
    const chain = { name: 'forward', hook: nft.NF_BR_FORWARD, priority: -200, policy: nft.NF_ACCEPT };
    expect(toHex(nft.newBaseChain('evbd', chain).payload)).toBe(
      toHex(
        hex(`07000000 0900 0100 6576626400000000 0c00 0300 666f727761726400 1400 0480 0800 0100 00000002
             0800 0200 ffffff38 0800 0500 00000001 0b00 0700 66696c74657200 00`),
      ),
    );
    const [elements] = nft.newIndexes('evbd', 'ports', [1]);
    expect(toHex(elements!.payload)).toBe(
      toHex(
        hex(`07000000 0900 0100 6576626400000000 0a00 0200 706f7274730000 00
             1400 0380 1000 0180 0c00 0180 0800 0100 01000000`),
      ),
    );
  });

  it('chain, set and rule are read as they were written', () => {
    const chain = { name: 'forward', hook: 2, priority: -200, policy: 1 };
    expect(nft.decodeBaseChain(received(nft.newBaseChain('t', chain)))).toEqual(chain);
    const set = received(nft.newIndexSet('t', 'ports'));
    expect(nft.decodeSet(set)).toEqual({ name: 'ports', flags: 0, keyLength: 4 });
    expect(nft.decodeTableFlags(received(nft.newTable('t')))).toBe(0);
    fc.assert(
      fc.property(fc.array(expression, { maxLength: 8 }), (expressions) => {
        const rule = received(nft.newRule('t', 'forward', expressions));
        expect(nft.decodeRule(rule)).toEqual({ chain: 'forward', expressions });
      }),
    );
  });

  it('indexes go into as many messages as they need, and come back', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 5000 }), (count) => {
        const indexes = Array.from({ length: count }, (_, i) => 0x7fffffff - i);
        const changes = nft.newIndexes('t', 'ports', indexes);
        for (const { payload } of changes) expect(payload.length).toBeLessThan(0x10000);
        expect(changes.flatMap((change) => nft.decodeIndexes(received(change)))).toEqual(indexes);
      }),
      { numRuns: 10 },
    );
  });

  it('go into a batch that is acknowledged once and refused when the tables have changed', () => {
    const batch = nft.encodeBatch([nft.newTable('t'), nft.deleteTable('t')], 9, 0x01020304);
    const messages = decodeMessages(batch);
    expect(messages.map(({ type, flags, sequence }) => [type, flags, sequence])).toEqual([
      [nft.NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, 9],
      [nft.NFT_MSG_NEWTABLE, NLM_F_REQUEST | NLM_F_CREATE, 9],
      [nft.NFT_MSG_DELTABLE, NLM_F_REQUEST | NLM_F_ACK, 9],
      [nft.NFNL_MSG_BATCH_END, NLM_F_REQUEST, 9],
    ]);
    // Subsystem and generation are in network order.
    expect(toHex(messages[0]!.payload.clone().rest())).toBe('0000000a0800010001020304');
    const [begin] = decodeMessages(nft.encodeBatch([nft.newTable('t')], 9));
    expect(begin!.payload.remaining).toBe(4);
    expect(() => nft.encodeBatch([], 9)).toThrow(RangeError);
  });
});

describe('rules of somebody else', () => {
  const read = (name: string, data: (writer: HostWriter) => void) => {
    const payload = new HostWriter().u8(7).u8(0).u16(0);
    payload.nested(nft.NFTA_RULE_EXPRESSIONS, (list) =>
      list.nested(nft.NFTA_LIST_ELEM, (one) =>
        one.text(nft.NFTA_EXPR_NAME, name).nested(nft.NFTA_EXPR_DATA, data),
      ),
    );
    return nft.decodeRule(received({ type: nft.NFT_MSG_NEWRULE, payload: payload.finish() })).expressions;
  };
  const u32 = (writer: HostWriter, type: number, value: number) =>
    writer.attribute(type, (w) =>
      w
        .u8(value >>> 24)
        .u8((value >>> 16) & 255)
        .u8((value >>> 8) & 255)
        .u8(value & 255),
    );

  it.each<[string, string, (writer: HostWriter) => void]>([
    ['not in', 'lookup', (w) => void u32(u32(w.text(1, 'ports'), 2, 1), 5, 1)],
    ['another register', 'lookup', (w) => void u32(w.text(1, 'ports'), 2, 2)],
    ['unequal', 'cmp', (w) => void u32(u32(w, 1, 1), 2, 1).nested(3, (v) => v.attribute(1, (o) => o.u8(1)))],
    ['another header', 'payload', (w) => void u32(u32(u32(u32(w, 1, 1), 2, 1), 3, 0), 4, 6)],
    ['a payload that is set', 'payload', (w) => void u32(u32(u32(u32(w, 5, 1), 2, 0), 3, 0), 4, 6)],
    ['another key', 'meta', (w) => void u32(u32(w, 2, 6), 1, 1)],
    ['a key that is set', 'meta', (w) => void u32(u32(w, 2, 4), 3, 1)],
    [
      'accept',
      'immediate',
      (w) => void u32(w, 1, 0).nested(2, (v) => v.nested(2, (code) => void u32(code, 1, 1))),
    ],
    ['what is not known', 'counter', () => {}],
  ])('%s is none of ours', (_, name, data) => {
    expect(read(name, data)).toEqual([{ kind: 'other', name }]);
  });

  it('cannot be written', () => {
    expect(() => nft.newRule('t', 'c', [{ kind: 'other', name: 'counter' }])).toThrow(RangeError);
  });
});

describe('events', () => {
  it('name the table of the bridge family that they are about', () => {
    for (const change of [nft.newTable('t'), nft.newIndexSet('t', 's'), nft.newRule('t', 'c', [])]) {
      expect(nft.tableNameOf(received(change))).toBe('t');
      const other = change.payload.slice();
      other[0] = 2;
      expect(nft.tableNameOf(received({ ...change, payload: other }))).toBeUndefined();
    }
    const { payload } = nft.newTable('t');
    for (const type of [nft.NFT_MSG_NEWGEN, nft.NFT_MSG_TRACE, 0x0b00, 16])
      expect(nft.tableNameOf(received({ type, payload }))).toBeUndefined();
  });

  it('a generation is read', () => {
    const payload = new HostWriter()
      .u32(0)
      .attribute(1, (w) => w.octets(hex('80000001')))
      .finish();
    expect(nft.decodeGeneration(received({ type: nft.NFT_MSG_NEWGEN, payload }))).toBe(0x80000001);
  });

  it('any payload: read, or a DecodeError', () => {
    const valid = fc.oneof(
      fc.array(expression, { maxLength: 4 }).map((list) => nft.newRule('t', 'c', list).payload),
      fc.constantFrom(
        nft.newBaseChain('t', { name: 'c', hook: 2, priority: 1, policy: 1 }).payload,
        nft.newIndexSet('t', 's').payload,
        nft.newIndexes('t', 's', [1, 2, 3])[0]!.payload,
      ),
    );
    const decoders = [
      nft.tableNameOf,
      nft.decodeTableFlags,
      nft.decodeBaseChain,
      nft.decodeRule,
      nft.decodeSet,
      nft.decodeIndexes,
      nft.decodeGeneration,
    ];
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 100 }), damaged(valid)), (payload) => {
        for (const decode of decoders) {
          try {
            decode(received({ type: nft.NFT_MSG_NEWRULE, payload }));
          } catch (error) {
            expect(error).toBeInstanceOf(DecodeError);
          }
        }
      }),
      { numRuns: 2000 },
    );
  });
});
