/** What test/pair/stranger.test.ts cannot tell apart. */

import { describe, expect, it } from 'vitest';
import type { LldpNeighbour } from '../../protocols/lldp-agent/index.ts';
import type { MacAddress } from '../../protocols/octets/index.ts';
import { PeerChoice } from '../../src/port/peer-choice.ts';

const TRIAL = 90_000;
const HOUR = 3_600_000;

function neighbour(n: number): LldpNeighbour {
  const source = `02:00:00:00:00:0${n}` as MacAddress;
  const lldpdu = {
    chassisId: { subtype: 4, id: new Uint8Array(6) },
    portId: { subtype: 3, id: new Uint8Array(6) },
  };
  return {
    key: `${n}`,
    source,
    lldpdu: { ...lldpdu, ttl: 121, others: [] },
    octets: new Uint8Array(),
    since: 0,
    expires: 121_000,
  };
}

const [A, B] = [neighbour(1), neighbour(2)];
const proven = (key: string, acknowledges: boolean) => ({
  key,
  source: A.source!,
  acknowledges,
  until: HOUR,
});

/** ECP gives up one ECPDU after the other, `others` acknowledge it instead. */
function ignore(choice: PeerChoice, times: number, ...others: LldpNeighbour[]): void {
  for (let n = 0; n < times; n++) {
    choice.requested();
    for (const other of others) choice.acknowledged(other, 0);
    choice.gaveUp();
  }
}
const best = (choice: PeerChoice, now = 0, speakers = [A, B]) => choice.best(speakers, now).peer?.key;

function peer(who: LldpNeighbour, known?: ReturnType<typeof proven>): PeerChoice {
  const choice = new PeerChoice(known);
  choice.take(who, TRIAL, 0);
  return choice;
}

describe('the place of the EVB peer', () => {
  it('is lost to one that acknowledges ECP, by one that does not', () => {
    const choice = peer(A);
    ignore(choice, 3, B);
    expect(best(choice)).toBe('2');
  });

  it('is kept by one that acknowledged before, in an earlier run', () => {
    const choice = peer(A, proven(A.key, true));
    ignore(choice, 3, B);
    expect(best(choice)).toBe('1');
    const echoed = peer(A, proven(A.key, false));
    ignore(echoed, 3, B);
    expect(best(echoed)).toBe('2');
  });

  it('is kept by one that has acknowledged, while another one is remembered', () => {
    const choice = peer(A, proven('3', true));
    choice.requested();
    choice.acknowledged(A, 0);
    ignore(choice, 3, B);
    expect(best(choice)).toBe('1');
  });

  it('is not lost to one that acknowledged something else than the last', () => {
    const choice = peer(A);
    ignore(choice, 1, B);
    ignore(choice, 2);
    expect(best(choice)).toBe('1');
  });

  it('is not lost for what the one before did not acknowledge', () => {
    const choice = peer(A);
    ignore(choice, 2);
    choice.take(B, TRIAL, 0);
    ignore(choice, 1, A);
    expect(best(choice)).toBe('2');
  });

  it('is taken by one that hears us before one that has been there longer', () => {
    const choice = new PeerChoice();
    choice.heard(B, true, 0);
    expect(best(choice)).toBe('2');
  });

  it.each([
    ['went', (choice: PeerChoice) => choice.gone(B.key)],
    [
      'showed it in another dialect',
      (choice: PeerChoice) => {
        choice.reset();
        choice.take(A, TRIAL, 0);
      },
    ],
  ])('is not lost after its trial to one that %s since', (_, happens) => {
    const choice = peer(A);
    choice.heard(B, true, 0);
    happens(choice);
    choice.advance(TRIAL);
    expect(best(choice, TRIAL)).toBe('1');
    choice.heard(B, true, TRIAL);
    expect(best(choice, TRIAL)).toBe('2');
  });

  it('is given back at once though it was taken without anybody having had it just before', () => {
    const choice = peer(A, proven(A.key, true));
    choice.take(undefined, TRIAL, 1);
    choice.take(B, TRIAL, 2);
    expect(best(choice, 3)).toBe('1');
  });
});

describe('what is kept of the proven peer', () => {
  it('is news once an hour', () => {
    const choice = peer(A);
    choice.heard(A, true, 0);
    const first = choice.proven;
    choice.heard(A, true, HOUR - 1);
    expect(choice.proven).toBe(first);
    choice.heard(A, true, HOUR);
    expect(choice.proven).toEqual({ ...first, until: first!.until + HOUR });
  });
});
