/** What the EVB machines say is sayable, and follows from what was heard last, whatever the peer sends. */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { EvbBridge, EvbDraft, EvbStation } from '../../protocols/evb/index.ts';
import {
  decodeEvbDraftTlv,
  decodeEvbTlv,
  EVB_MODE_BRIDGE,
  EVB_MODE_STATION,
  encodeEvbDraftTlv,
  encodeEvbTlv,
} from '../../protocols/lldp-codec/index.ts';
import { OctetReader } from '../../protocols/octets/index.ts';

const octets = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const tlv = octets(5).map((from) => decodeEvbTlv(new OctetReader(from)));
const tlvDraft = octets(9).map((from) => decodeEvbDraftTlv(new OctetReader(from)));
const proposal = fc.record({ r: fc.nat(7), rte: fc.nat(31), rwd: fc.nat(31), rka: fc.nat(31) });
const heard = <T>(of: fc.Arbitrary<T>) => fc.array(fc.option(of, { nil: undefined }), { maxLength: 8 });

test('station: every TLV of ours is one, and with the peer gone we are as in the beginning', () => {
  fc.assert(
    fc.property(fc.boolean(), fc.boolean(), proposal, heard(tlv), (reflectiveRelay, groupIds, own, said) => {
      const policy = { reflectiveRelay, groupIds, proposal: own };
      const station = new EvbStation(policy);
      for (const each of said) {
        station.receive(each);
        const spoken = decodeEvbTlv(new OctetReader(encodeEvbTlv(station.tlv)));
        expect(spoken).toEqual(station.tlv);
        expect(station.tlv.mode).toBe(EVB_MODE_STATION);
        expect(station.remote).toEqual(each?.mode === EVB_MODE_BRIDGE ? each : undefined);
        if (station.relayActive) expect(reflectiveRelay && each?.bridgeStatus.rrctr).toBe(true);
      }
      station.lost('gone');
      const fresh = new EvbStation(policy);
      expect([station.tlv, station.operational]).toEqual([fresh.tlv, fresh.operational]);
    }),
  );
});

test('bridge: every TLV of ours is one, and with the peer gone we are as in the beginning', () => {
  fc.assert(
    fc.property(fc.boolean(), fc.boolean(), proposal, heard(tlv), (reflectiveRelay, groupIds, own, said) => {
      const policy = { reflectiveRelay, always: false, groupIds, proposal: own };
      const bridge = new EvbBridge(policy);
      for (const each of said) {
        bridge.receive(each);
        bridge.applied(bridge.relayWanted);
        const spoken = decodeEvbTlv(new OctetReader(encodeEvbTlv(bridge.tlv)));
        expect(spoken).toEqual(bridge.tlv);
        expect(bridge.tlv.mode).toBe(EVB_MODE_BRIDGE);
        expect(bridge.remote).toEqual(each?.mode === EVB_MODE_STATION ? each : undefined);
        if (bridge.relayWanted) expect(reflectiveRelay && each?.stationStatus.rrreq).toBe(true);
      }
      bridge.lost('gone');
      bridge.applied(false);
      const fresh = new EvbBridge(policy);
      expect([bridge.tlv, bridge.operational]).toEqual([fresh.tlv, fresh.operational]);
    }),
  );
});

test.each(['station', 'bridge'] as const)(
  'draft 0.2, %s: every TLV of ours is one, and with the peer gone we are as in the beginning',
  (role) => {
    const policies = fc.record({
      reflectiveRelay: fc.boolean(),
      always: fc.constant(false),
      rte: fc.nat(31),
      vsis: fc.nat(65535),
    });
    fc.assert(
      fc.property(policies, heard(tlvDraft), fc.nat(70000), (policy, said, vsis) => {
        const evb = new EvbDraft(role, policy);
        for (const each of said) {
          evb.receive(each);
          evb.setVsis(vsis);
          evb.applied(evb.relayWanted);
          expect(decodeEvbDraftTlv(new OctetReader(encodeEvbDraftTlv(evb.tlv)))).toEqual(evb.tlv);
          if (evb.vdpAgreed) expect(evb.remote).toBeDefined();
          if (evb.relayWanted) expect(evb.relayPossible && policy.reflectiveRelay).toBe(true);
        }
        evb.lost('gone');
        evb.applied(false);
        evb.setVsis(0);
        expect(evb.tlv).toEqual(new EvbDraft(role, policy).tlv);
      }),
    );
  },
);
