import type { Attributes, HostWriter } from '../rtnetlink/index.ts';
import { putU32, u32Of } from './attributes.ts';
import * as k from './constants.ts';

/** One step of a rule. They hand values on in register 1; the first that does not hold ends the rule. */
export type NftExpression =
  /** Loads octets of the frame. */
  | { kind: 'payload'; offset: number; length: number }
  /** Loads the index of the interface that the frame came in by, or goes out by. */
  | { kind: 'meta'; key: 'iif' | 'oif' }
  /** What was loaded is this. */
  | { kind: 'equals'; octets: Uint8Array }
  /** What was loaded is in the set. */
  | { kind: 'in'; set: string }
  | { kind: 'drop' }
  /** Anything else that a rule may hold. */
  | { kind: 'other'; name: string };

export function writeExpressions(writer: HostWriter, expressions: readonly NftExpression[]): HostWriter {
  return writer.nested(k.NFTA_RULE_EXPRESSIONS, (list) => {
    for (const expression of expressions) list.nested(k.NFTA_LIST_ELEM, (w) => writeOne(w, expression));
  });
}

function writeOne(writer: HostWriter, expression: NftExpression): void {
  const named = (name: string, write: (data: HostWriter) => void) => {
    writer.text(k.NFTA_EXPR_NAME, name).nested(k.NFTA_EXPR_DATA, write);
  };
  switch (expression.kind) {
    case 'payload':
      named('payload', (data) => {
        putU32(data, k.NFTA_PAYLOAD_DREG, k.NFT_REG_1);
        putU32(data, k.NFTA_PAYLOAD_BASE, k.NFT_PAYLOAD_LL_HEADER);
        putU32(data, k.NFTA_PAYLOAD_OFFSET, expression.offset);
        putU32(data, k.NFTA_PAYLOAD_LEN, expression.length);
      });
      break;
    case 'meta':
      named('meta', (data) => {
        putU32(data, k.NFTA_META_KEY, META_KEYS[expression.key]);
        putU32(data, k.NFTA_META_DREG, k.NFT_REG_1);
      });
      break;
    case 'equals':
      named('cmp', (data) => {
        putU32(data, k.NFTA_CMP_SREG, k.NFT_REG_1);
        putU32(data, k.NFTA_CMP_OP, k.NFT_CMP_EQ);
        data.nested(k.NFTA_CMP_DATA, (value) =>
          value.attribute(k.NFTA_DATA_VALUE, (w) => w.octets(expression.octets)),
        );
      });
      break;
    case 'in':
      named('lookup', (data) => {
        data.text(k.NFTA_LOOKUP_SET, expression.set);
        putU32(data, k.NFTA_LOOKUP_SREG, k.NFT_REG_1);
      });
      break;
    case 'drop':
      named('immediate', (data) => {
        putU32(data, k.NFTA_IMMEDIATE_DREG, k.NFT_REG_VERDICT);
        data.nested(k.NFTA_IMMEDIATE_DATA, (value) =>
          value.nested(k.NFTA_DATA_VERDICT, (verdict) => putU32(verdict, k.NFTA_VERDICT_CODE, k.NF_DROP)),
        );
      });
      break;
    case 'other':
      throw new RangeError(`the expression ${expression.name} cannot be written`);
  }
}

const META_KEYS = { iif: k.NFT_META_IIF, oif: k.NFT_META_OIF } as const;

/** Of a rule. Throws DecodeError. */
export function readExpressions(rule: Attributes): NftExpression[] {
  return (rule.nested(k.NFTA_RULE_EXPRESSIONS)?.allNested(k.NFTA_LIST_ELEM) ?? []).map((expression) => {
    const name = expression.text(k.NFTA_EXPR_NAME) ?? '';
    const data = expression.nested(k.NFTA_EXPR_DATA);
    return (data && readOne(name, data)) ?? { kind: 'other', name };
  });
}

/** undefined: not one that could be written here. */
function readOne(name: string, data: Attributes): NftExpression | undefined {
  const is = (type: number, value: number) => u32Of(data, type) === value;
  switch (name) {
    case 'payload': {
      const offset = u32Of(data, k.NFTA_PAYLOAD_OFFSET);
      const length = u32Of(data, k.NFTA_PAYLOAD_LEN);
      const ours = is(k.NFTA_PAYLOAD_DREG, k.NFT_REG_1) && is(k.NFTA_PAYLOAD_BASE, k.NFT_PAYLOAD_LL_HEADER);
      return ours && offset !== undefined && length !== undefined
        ? { kind: 'payload', offset, length }
        : undefined;
    }
    case 'meta': {
      const key = is(k.NFTA_META_KEY, META_KEYS.iif) ? 'iif' : 'oif';
      const ours = is(k.NFTA_META_DREG, k.NFT_REG_1) && is(k.NFTA_META_KEY, META_KEYS[key]);
      return ours ? { kind: 'meta', key } : undefined;
    }
    case 'cmp': {
      const octets = data.nested(k.NFTA_CMP_DATA)?.octets(k.NFTA_DATA_VALUE);
      const ours = is(k.NFTA_CMP_SREG, k.NFT_REG_1) && is(k.NFTA_CMP_OP, k.NFT_CMP_EQ);
      return ours && octets ? { kind: 'equals', octets } : undefined;
    }
    case 'lookup': {
      const set = data.text(k.NFTA_LOOKUP_SET);
      // A flag says "not in".
      const ours = is(k.NFTA_LOOKUP_SREG, k.NFT_REG_1) && (u32Of(data, k.NFTA_LOOKUP_FLAGS) ?? 0) === 0;
      return ours && set !== undefined ? { kind: 'in', set } : undefined;
    }
    case 'immediate': {
      const verdict = data.nested(k.NFTA_IMMEDIATE_DATA)?.nested(k.NFTA_DATA_VERDICT);
      const ours = is(k.NFTA_IMMEDIATE_DREG, k.NFT_REG_VERDICT);
      return ours && u32Of(verdict, k.NFTA_VERDICT_CODE) === k.NF_DROP ? { kind: 'drop' } : undefined;
    }
    default:
      return undefined;
  }
}
