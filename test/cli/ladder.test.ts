import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { encodeFrame, FRAME_MAX, NEAREST_CUSTOMER_BRIDGE } from '../../protocols/ethernet/index.ts';
import type { MacAddress } from '../../protocols/octets/index.ts';
import { Ladder, summarize } from '../../src/cli/ladder.ts';
import { PLAIN, type Terminal } from '../../src/cli/terminal.ts';
import { captures, readCapture } from '../fixtures/pcap.ts';
import { hex } from '../fixtures/vectors.ts';

const UNICODE: Terminal = { unicode: true, colour: false, columns: 80 };

const summaries = (name: string) => readCapture(name).map(({ octets }) => summarize(octets).summary);

describe('summaries of recorded frames', () => {
  test('EVB negotiation', () => {
    expect(summaries('evb-ratified-rr-gpid').slice(0, 3)).toEqual([
      'LLDP ttl 120 EVB station RRREQ SGID, relay unknown',
      'LLDP ttl 120 EVB bridge RRCAP BGID, relay on',
      'LLDP ttl 120 EVB station RRREQ SGID, relay on',
    ]);
    expect(summaries('evb-ratified-no-rrcap')[1]).toBe('LLDP ttl 120 EVB bridge, relay off');
  });

  test('draft EVB negotiation', () => {
    expect(summaries('evb-draft-negotiate').slice(0, 7)).toEqual([
      'LLDP ttl 120 draft EVB nothing agreed, relay on',
      'LLDP ttl 120 draft EVB RTE ECP VDP, relay on',
      'draft ECP request 1',
      'draft ECP request 2',
      'LLDP ttl 120 draft EVB RTE ECP VDP, relay on',
      'draft ECP request 1',
      'draft ECP ack 1',
    ]);
  });

  test('association', () => {
    expect(summaries('vdp-assoc-deassoc-fmt2')).toEqual([
      'ECP request 1 | associate 52:54:00:a1:00:01/100 (vsi 0f3e6a5c…)',
      'ECP ack 1',
      'ECP request 1 | associated 52:54:00:a1:00:01/100 (vsi 0f3e6a5c…)',
      'ECP ack 1',
      'ECP request 2 | deassociate 52:54:00:a1:00:01/100 (vsi 0f3e6a5c…)',
      'ECP ack 2',
      'ECP request 2 | deassociated 52:54:00:a1:00:01/100 (vsi 0f3e6a5c…)',
      'ECP ack 2',
    ]);
  });

  test.each([
    [
      'vdp-assoc-deassoc-fmt2-3filters',
      0,
      'ECP request 1 | associate 52:54:00:a1:06:01/400 +2 (vsi 0f3e6a5c…)',
    ],
    [
      'vdp-nack-insufficient-resources',
      2,
      'ECP request 1 | refused, deassociated: insufficient resources 52:54:00:b1:00:03/702 (vsi 0f3e6a5c…)',
    ],
    [
      'vdp-nack-keep',
      2,
      'ECP request 1 | associate refused: unable to contact the VSI manager (keep) 52:54:00:b1:00:03/702 (vsi 0f3e6a5c…)',
    ],
    [
      'vdp-scripted-station-odd-requests',
      28,
      'ECP request 16392 | associate 52:54:00:f1:00:08/10 (vsi 5c1de9a0…) | associate 52:54:00:f1:00:09/11 (vsi 5c1de9a0…)',
    ],
    [
      'vdp-scripted-station-odd-requests',
      34,
      'ECP request 16393 | undecoded: associate: unknown filter info format 0 (at octet 60)',
    ],
    [
      'vdp-scripted-station-odd-requests',
      60,
      'ECP request 16398 | undecoded: the first TLV is no VSI Manager ID (at octet 18)',
    ],
    [
      'vdp-draft-scripted-bridge-nack',
      2,
      'draft ECP request 1 | associate refused: insufficient resources 52:54:00:d1:00:11/3 (vsi fa9b7fff…)',
    ],
    [
      'vdp-draft-preassoc-rr',
      0,
      'draft ECP request 4 | reserve 52:54:00:d1:00:03/3 (vsi fa9b7fff…) | preassociate 52:54:00:d1:00:02/3 (vsi fa9b7fff…) | and 1 more',
    ],
  ])('%s, frame %i', (name, index, summary) => {
    expect(summaries(name)[index]).toBe(summary);
  });

  test('hints and priorities', () => {
    const texts = summaries('vdp-hints-pcp').join('\n');
    expect(texts).toMatch(/associate hint (from|to) 52:[0-9a-f:]+\/\d+/);
    expect(texts).toMatch(/\/\d+@\d/);
  });

  test('every recorded frame decodes, but for those made wrong', () => {
    const wrong = captures.flatMap((name) =>
      readCapture(name)
        .filter(({ octets }) => summarize(octets).document.error !== null)
        .map(({ number }) => `${name} ${number}`),
    );
    expect(wrong).toEqual(['vdp-scripted-station-odd-requests 35', 'vdp-scripted-station-odd-requests 61']);
  });
});

describe('documents', () => {
  test('an association', () => {
    const [frame] = readCapture('vdp-assoc-deassoc-fmt2');
    expect(summarize(frame!.octets).document).toEqual({
      source: '02:00:5e:10:00:01',
      destination: '01:80:c2:00:00:00',
      etherType: '0x8940',
      summary: 'ECP request 1 | associate 52:54:00:a1:00:01/100 (vsi 0f3e6a5c…)',
      ecp: { dialect: 'ratified', version: 1, operation: 'request', subtype: 1, sequence: 1 },
      vdp: {
        manager: '6d677241000000000000000000000000',
        vsis: [
          {
            request: 'associate',
            status: { ack: false, keep: false, hard: false, error: 0 },
            type: 5,
            typeVersion: 4,
            idFormat: 'uuid',
            id: '0f3e6a5c-5b1e-4c57-9b0a-7d2e4f6a0001',
            filterFormat: 2,
            filters: [{ mac: '52:54:00:a1:00:01', vid: 100, pcp: null, group: null }],
          },
        ],
      },
      error: null,
    });
  });

  test('a draft answer', () => {
    const frame = readCapture('vdp-draft-scripted-bridge-nack')[2]!;
    expect(summarize(frame.octets).document).toMatchObject({
      ecp: { dialect: 'draft', operation: 'request', subtype: 0, sequence: 1 },
      vdp: {
        manager: `0c${'0'.repeat(30)}`,
        vsis: [{ request: 'associate', response: 2, type: 0x123456, typeVersion: 1, idFormat: 'uuid' }],
      },
    });
    expect(summarize(frame.octets).document.vdp!.vsis[0]).not.toHaveProperty('status');
  });

  test('an LLDPDU', () => {
    const [frame] = readCapture('evb-ratified-rr-gpid');
    expect(summarize(frame!.octets).document.lldp).toMatchObject({
      ttl: 120,
      chassisId: { subtype: 4, id: '02:00:5e:10:00:01' },
      portId: { subtype: 3, id: '02:00:5e:10:00:01' },
      evb: {
        mode: 'station',
        stationStatus: { sgid: true, rrreq: true, rrstat: 3 },
        r: 3,
        rte: 8,
        rwd: 20,
        rka: 20,
      },
    });
  });

  test('the front of a frame is decoded as far as it goes', () => {
    const [frame] = readCapture('vdp-burst-10-vsis');
    const whole = frame!.octets.subarray(0, 71);
    for (let length = 0; length < whole.length; length++) {
      const { document } = summarize(whole.subarray(0, length), true);
      expect(document.error).toBe('truncated by the capture');
      expect(document.ecp !== undefined).toBe(length >= 18);
      expect(document.vdp !== undefined).toBe(length >= 36);
    }
    const lldp = readCapture('evb-ratified-rr-gpid')[0]!.octets;
    expect(summarize(lldp.subarray(0, 40), true).document.lldp).toMatchObject({ ttl: 120 });
  });

  test('no octets make it throw, and every outcome is one line', () => {
    const source = '02:00:00:00:00:01' as MacAddress;
    const frames = fc
      .tuple(fc.constantFrom(0x88cc, 0x8940, 0x88b7, 0x0800), fc.uint8Array({ maxLength: 200 }))
      .map(([etherType, payload]) =>
        encodeFrame({ destination: NEAREST_CUSTOMER_BRIDGE, source, etherType, payload }),
      );
    const recorded = captures.flatMap((name) => readCapture(name).map(({ octets }) => octets));
    const spoilt = fc
      .tuple(
        fc.constantFrom(...recorded),
        fc.array(fc.tuple(fc.nat(100), fc.nat(255)), { maxLength: 4 }),
        fc.nat(80),
      )
      .map(([octets, changes, cut]) => {
        const copy = octets.slice(0, Math.max(0, octets.length - (cut > 60 ? cut : 0)));
        for (const [at, value] of changes) if (at < copy.length) copy[at] = value;
        return copy;
      });
    const any = fc.oneof(frames, spoilt, fc.uint8Array({ maxLength: FRAME_MAX }));
    fc.assert(
      fc.property(any, fc.boolean(), fc.boolean(), (octets, cut, unicode) => {
        const frame = summarize(octets, cut);
        JSON.stringify(frame.document);
        expect(frame.summary).not.toMatch(/\n|undefined|\[object/);
        for (const line of new Ladder({ ...PLAIN, unicode }).draw(frame, 12.5)) {
          expect(line.length).toBeLessThanOrEqual(80);
          expect(line).toMatch(unicode ? /^[^\p{Cc}]*$/u : /^[\x20-\x7e]*$/);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('ladder', () => {
  const draw = (ladder: Ladder, name: string) =>
    readCapture(name).flatMap(({ octets, at }) => ladder.draw(summarize(octets), at / 1000));

  test('80 columns, whatever is drawn', () => {
    for (const unicode of [true, false]) {
      const lines = captures.flatMap((name) => draw(new Ladder({ ...PLAIN, unicode }), name));
      for (const line of lines.filter((each) => each !== '')) expect(line).toHaveLength(80);
    }
  });

  test('both ends are named when they are known', () => {
    const lines = draw(
      new Ladder(UNICODE, { station: '02:00:5e:10:00:01', bridge: '02:00:5e:10:00:02' }),
      'vdp-draft-preassoc-rr',
    );
    expect(lines).toEqual([
      '           station 02:00:5e:10:00:01                    bridge 02:00:5e:10:00:02',
      '    0.0 ms ├── draft ECP request 4 ───────────────────────────────────────────▶│',
      '           │    reserve 52:54:00:d1:00:03/3 (vsi fa9b7fff…)                    │',
      '           │    preassociate 52:54:00:d1:00:02/3 (vsi fa9b7fff…)               │',
      '           │    associate 52:54:00:d1:00:01/3 (vsi fa9b7fff…)                  │',
      '    0.1 ms │◀─────────────────────────────────────────────── draft ECP ack 4 ──┤',
    ]);
  });

  test('the bridge is on the right also when it speaks first', () => {
    const [first, ...rest] = draw(new Ladder(UNICODE), 'bridge-restart-short');
    expect(first).toMatch(/^ +station +bridge 02:00:5e:10:00:02$/);
    expect(rest[0]).toMatch(/^ {4}0\.0 ms │◀─+ LLDP ttl 120 EVB bridge RRCAP BGID, relay on ──┤$/);
  });

  test('colours go around the text only', () => {
    const frame = summarize(readCapture('vdp-nack-hard')[2]!.octets);
    const plain = new Ladder(UNICODE).draw(frame, 0);
    const coloured = new Ladder({ ...UNICODE, colour: true }).draw(frame, 0);
    expect(coloured.join('')).toContain('\x1b[31m');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what colours are
    expect(coloured.map((line) => line.replace(/\x1b\[\d+m/g, ''))).toEqual(plain);
  });

  test("a peer's text cannot steer the terminal", () => {
    const octets = hex(
      '0180c2000000 020000000001 88cc 0207 04 020000000001 0406 05 1b5b324a0a 0602 0079 0000',
    );
    const frame = summarize(octets);
    expect(frame.document.lldp?.portId).toEqual({ subtype: 5, id: '1b5b324a0a' });
    expect(new Ladder(UNICODE).draw(frame, 0).join('')).not.toMatch(/\p{Cc}/u);
  });
});
