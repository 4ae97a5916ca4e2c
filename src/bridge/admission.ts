import { sameOctets } from '../../protocols/octets/index.ts';
import {
  type FilterEntry,
  filterProblem,
  type ResourceResult,
  VDP_INVALID_FILTER,
  VDP_OTHER_FAILURE,
  type VsiCommand,
} from '../../protocols/vdp/index.ts';
import type { Profile } from '../config/profile.ts';

export interface AdmissionPolicy {
  /** open: everybody; profiles: only what `profiles` names. */
  admission: 'open' | 'profiles';
  profiles: readonly Profile[];
  /** The port lets only associated MAC addresses in, so a filter must name one. */
  enforce: boolean;
}

export type Admission = Exclude<ResourceResult, { outcome: 'keep' }> & { reason: string };

export function profileOf(command: VsiCommand, profiles: readonly Profile[]): Profile | undefined {
  return profiles.find(
    ({ manager, type, typeVersion }) =>
      type === command.type && typeVersion === command.typeVersion && sameOctets(manager, command.manager),
  );
}

/**
 * Whether the port takes a (Pre)Associate, and with which VIDs: a null VID becomes the profile's VLAN, or stays 0 (untagged)
 * where the profile has none (vdp.md 1.5).
 */
export function admit(command: VsiCommand, policy: AdmissionPolicy, groupIds: boolean): Admission {
  const refuse = (error: number, reason: string): Admission => ({
    outcome: 'deassoc',
    error,
    hard: true,
    reason,
  });
  const problem = filterProblem(command.filters, groupIds);
  if (problem !== undefined) return refuse(VDP_INVALID_FILTER, problem);
  const profile = profileOf(command, policy.profiles);
  if (profile === undefined && policy.admission === 'profiles') {
    return refuse(
      VDP_OTHER_FAILURE,
      `no profile has type ${command.type} version ${command.typeVersion} of this manager`,
    );
  }
  if (policy.enforce && command.filters.some(({ mac }) => mac === undefined)) {
    return refuse(VDP_INVALID_FILTER, 'an enforcing port needs a MAC address in every filter');
  }
  const vlan = profile?.vlan;
  const wrong = command.filters.find(({ vid }) => vlan !== undefined && vid !== 0 && vid !== vlan);
  if (wrong !== undefined)
    return refuse(VDP_INVALID_FILTER, `VID ${wrong.vid} is not that of profile ${profile!.name}`);
  const filters = command.filters.map(
    (entry): FilterEntry => (entry.vid === 0 && vlan ? { ...entry, vid: vlan } : entry),
  );
  return { outcome: 'success', filters, reason: profile === undefined ? 'open' : `profile ${profile.name}` };
}
