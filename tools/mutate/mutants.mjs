/**
 * The changes that `npm run mutate` makes, one at a time, to a source file: each is a mistake that somebody could make in a row
 * of a table, a field or a mask. All of them stand in one instrumented text; `__mutant(id)` says which one is in force.
 */
import { parseAst } from 'vitest/node';

/** Calls whose last argument names a field for a message. */
const FIELD_READERS = new Set(['u8', 'u16', 'u24', 'u32', 'take', 'sub']);
const pairs = (...list) =>
  new Map(
    list.flatMap(([a, b]) => [
      [a, b],
      [b, a],
    ]),
  );
const OPERATORS = pairs(['<', '<='], ['>', '>='], ['+', '-'], ['*', '/'], ['&', '|'], ['<<', '>>']);
const METHODS = pairs(['max', 'min'], ['some', 'every']);
const COMPARISONS = new Set(['===', '!==', '<', '<=', '>', '>=', 'instanceof', 'in']);
const FUNCTIONS = new Set(['FunctionDeclaration', 'FunctionExpression', 'ArrowFunctionExpression']);

/**
 * @typedef {object} Mutant
 * @property {number} id
 * @property {string} file
 * @property {number} line
 * @property {string} where the function or method that it is in
 * @property {string[]} before the lines that change
 * @property {string[]} after what becomes of them
 * @property {boolean} isStatic it acts while the module is evaluated
 */

/**
 * The mutants of one file, numbered from `firstId`, and the text that holds them all.
 * @returns {{ mutants: Mutant[], code: string }}
 */
export function mutantsOf(file, source, firstId = 1) {
  const program = parseAst(source, { lang: 'ts' });
  const mutants = [];
  /** Replacements of text: { start, end, text() }, nested ones within. */
  const edits = [];
  const scopes = [];
  /** Within what a module computes as it is evaluated. */
  let isEvaluated = false;
  const text = (node) => source.slice(node.start, node.end);

  const mutant = (node, replacement) => {
    const id = firstId + mutants.length;
    mutants.push({
      id,
      file,
      line: source.slice(0, node.start).split('\n').length,
      where: scopes
        .map((scope) => scope.name)
        .filter(Boolean)
        .join('.'),
      ...change(source, node.start, node.end, replacement),
      isStatic: isEvaluated,
    });
    return id;
  };
  /** An expression that is one of `alternatives` when their mutant is in force. */
  const replace = (node, alternatives) => {
    const different = [...new Set(alternatives)].filter((alternative) => alternative !== text(node));
    if (different.length === 0) return;
    const choices = different.map(
      (alternative) => `__mutant(${mutant(node, alternative)}) ? (${alternative}) : `,
    );
    edits.push({ start: node.start, end: node.end, before: `(${choices.join('')}(`, after: '))' });
  };
  /** A statement that is not executed when its mutant is in force. */
  const remove = (node) => {
    edits.push({
      start: node.start,
      end: node.end,
      before: `{ if (!__mutant(${mutant(node, '')})) { `,
      after: ' } }',
    });
  };
  const without = (whole, part, parts) => {
    const i = parts.indexOf(part);
    const [start, end] =
      i < parts.length - 1
        ? [part.start, parts[i + 1].start]
        : [i > 0 ? parts[i - 1].end : part.start, part.end];
    return source.slice(whole.start, start) + source.slice(end, whole.end);
  };

  const isBoolean = (node) =>
    node.type === 'LogicalExpression'
      ? node.operator !== '??'
      : (node.type === 'BinaryExpression' && COMPARISONS.has(node.operator)) ||
        (node.type === 'UnaryExpression' && node.operator === '!');

  /** `outer` is the logical operator that a condition is an operand of. */
  const condition = (node, outer) => {
    if (node.type === 'ParenthesizedExpression') return condition(node.expression, outer);
    // Within && and || what leaves an operand out is a mutant of the whole.
    if (outer === undefined) replace(node, ['true', 'false', ...operands(node)]);
    else if (node.type === 'LogicalExpression' && node.operator !== '??') replace(node, operands(node));
    if (node.type === 'LogicalExpression' && node.operator !== '??') {
      condition(node.left, node.operator);
      condition(node.right, node.operator);
    } else visit(node, { isCondition: true });
  };
  const operands = (node) =>
    node.type === 'LogicalExpression' && node.operator !== '??'
      ? [source.slice(node.right.start, node.right.end), source.slice(node.left.start, node.left.end)]
      : [];

  const visitors = {
    ExpressionStatement(node) {
      remove(node);
      visit(node.expression, { isStatement: true });
    },
    ThrowStatement(node) {
      remove(node);
      children(node);
    },
    BreakStatement: remove,
    ContinueStatement: remove,
    IfStatement(node) {
      // What passes on an exception that is none of ours is never reached while there is no such mistake.
      if (/^!\(?error instanceof DecodeError\)?$/.test(text(node.test))) return;
      condition(node.test);
      visit(node.consequent);
      if (node.alternate) visit(node.alternate);
    },
    ConditionalExpression(node) {
      condition(node.test);
      visit(node.consequent);
      visit(node.alternate);
    },
    WhileStatement(node) {
      condition(node.test);
      visit(node.body);
    },
    SwitchCase(node) {
      if (node.test) {
        const id = mutant(node.test, 'never');
        edits.push({
          start: node.test.start,
          end: node.test.end,
          before: `(__mutant(${id}) ? Symbol() : `,
          after: ')',
        });
      }
      for (const statement of node.consequent) visit(statement);
    },
    LogicalExpression(node, { isCondition }) {
      if (node.operator === '??') {
        replace(node, [text(node.left), text(node.right)]);
        children(node);
      } else if (isCondition) children(node);
      else condition(node);
    },
    BinaryExpression(node, { isCondition }) {
      const { operator, left, right } = node;
      const other = OPERATORS.get(operator);
      const alternatives = isBoolean(node) && !isCondition ? ['true', 'false'] : [];
      if (other !== undefined && !/^[`']/.test(text(right))) {
        alternatives.push(`${text(left)} ${other} ${text(right)}`);
      }
      replace(node, alternatives);
      children(node);
    },
    UnaryExpression(node, { isCondition }) {
      if (node.operator === '!') replace(node, isCondition ? [text(node.argument)] : ['true', 'false']);
      if (node.operator === '-') replace(node, [text(node.argument)]);
      else visit(node.argument);
    },
    UpdateExpression(node, { isStatement }) {
      const other = node.operator === '++' ? '--' : '++';
      replace(node, [node.prefix ? other + text(node.argument) : text(node.argument) + other]);
      if (isStatement) return;
    },
    AssignmentExpression(node) {
      const other = { '+=': '-=', '-=': '+=', '??=': '=' }[node.operator];
      if (other) replace(node, [`${text(node.left)} ${other} ${text(node.right)}`]);
      if (node.left.type === 'MemberExpression' && node.left.computed) visit(node.left);
      visit(node.right);
    },
    Literal(node) {
      if (typeof node.value === 'number') {
        const write = (value) => (/^0x/i.test(node.raw) ? `0x${value.toString(16)}` : String(value));
        replace(node, [write(node.value + 1), ...(node.value > 0 ? [write(node.value - 1)] : [])]);
      } else if (typeof node.value === 'boolean') replace(node, [String(!node.value)]);
      else if (typeof node.value === 'string' && /^[^\s]+$/.test(node.value)) replace(node, [`'mutant'`]);
      else if (node.regex) {
        const { pattern, flags } = node.regex;
        const write = (changed) => `/${changed}/${flags}`;
        replace(node, [
          ...(pattern.startsWith('^') ? [write(pattern.slice(1))] : []),
          ...(pattern.endsWith('$') ? [write(pattern.slice(0, -1))] : []),
        ]);
      }
    },
    TemplateLiteral(node) {
      // A text with blanks is for people.
      if (node.quasis.some((quasi) => /\s/.test(quasi.value.raw))) return;
      replace(
        node,
        node.expressions.map(
          (expression) =>
            `${source.slice(node.start, expression.start)}''${source.slice(expression.end, node.end)}`,
        ),
      );
      for (const expression of node.expressions) visit(expression);
    },
    ArrayExpression(node) {
      replace(
        node,
        node.elements.map((element) => without(node, element, node.elements)),
      );
      for (const element of node.elements)
        visit(element.type === 'SpreadElement' ? element.argument : element);
    },
    ObjectExpression(node) {
      const removable = node.properties.filter((property) => property.key?.name !== 'reason');
      replace(
        node,
        removable.map((property) => without(node, property, node.properties)),
      );
      for (const property of node.properties) {
        if (property.type === 'SpreadElement') visit(property.argument);
        else if (!property.shorthand) visit(property.value);
      }
    },
    CallExpression(node) {
      const { callee } = node;
      const alternatives = [];
      const isMethod = callee.type === 'MemberExpression' && !callee.computed && !callee.optional;
      const name = isMethod ? callee.property.name : undefined;
      if (METHODS.has(name)) {
        alternatives.push(
          source.slice(node.start, callee.property.start) +
            METHODS.get(name) +
            source.slice(callee.property.end, node.end),
        );
      }
      // One link of a chain left out: writer.u8(a).u16(b)
      if (isMethod && ['CallExpression', 'NewExpression'].includes(callee.object.type))
        alternatives.push(text(callee.object));
      replace(node, alternatives);
      visit(callee);
      node.arguments.forEach((argument, i) => {
        if (FIELD_READERS.has(name) && i === node.arguments.length - 1 && argument.type === 'Literal') {
          if (typeof argument.value === 'string') return;
        }
        visit(argument.type === 'SpreadElement' ? argument.argument : argument);
      });
    },
    NewExpression(node) {
      // The words of an error, and the room that a writer begins with, change nothing that anybody sees.
      if (/Error$|^OctetWriter$/.test(text(node.callee))) return;
      children(node);
    },
    MemberExpression(node) {
      visit(node.object);
      if (node.computed) visit(node.property);
    },
    ChainExpression(node) {
      const open = source.slice(node.start, node.end);
      const at = open.indexOf('?.');
      if (/^\?\.[\w#]/.test(open.slice(at))) replace(node, [`${open.slice(0, at)}.${open.slice(at + 2)}`]);
      visit(node.expression);
    },
    VariableDeclarator(node) {
      if (node.init) visit(node.init);
    },
    VariableDeclaration(node) {
      const [{ id, init }] = node.declarations;
      if (scopes.length > 0 || init === null || FUNCTIONS.has(init.type)) return children(node);
      // It is computed again when a mutant comes into force, and when it goes.
      const before = edits.length;
      isEvaluated = true;
      children(node);
      isEvaluated = false;
      if (edits.length === before) return;
      const name = source.slice(id.start, id.typeAnnotation?.start ?? id.end);
      edits.push({ start: node.start, end: node.start + node.kind.length, whole: 'let' });
      edits.push({ start: node.end, end: node.end, again: { name, start: init.start, end: init.end } });
    },
    PropertyDefinition(node) {
      if (node.value) inScope('', true, () => visit(node.value));
    },
    MethodDefinition(node) {
      inScope(text(node.key), true, () => visit(node.value));
    },
    ImportDeclaration() {},
    ExportAllDeclaration() {},
    ExportNamedDeclaration(node) {
      if (node.declaration) visit(node.declaration);
    },
    ClassDeclaration(node) {
      inScope(node.id.name, false, () => visit(node.body));
    },
  };

  const inScope = (name, isFunction, action) => {
    scopes.push({ name, isFunction });
    action();
    scopes.pop();
  };
  const children = (node) => {
    for (const [key, value] of Object.entries(node)) {
      if (key === 'typeAnnotation' || key === 'returnType' || key === 'typeParameters') continue;
      for (const child of Array.isArray(value) ? value : [value]) {
        if (child !== null && typeof child === 'object' && typeof child.type === 'string') visit(child);
      }
    }
  };
  const visit = (node, how = {}) => {
    const { type } = node;
    if (type === 'TSAsExpression' || type === 'TSNonNullExpression' || type === 'TSSatisfiesExpression')
      return visit(node.expression, how);
    if (type.startsWith('TS')) return;
    const visitor = visitors[type];
    if (visitor) return visitor(node, how);
    if (FUNCTIONS.has(type)) {
      const name = node.id?.name ?? '';
      return inScope(name, true, () => {
        for (const parameter of node.params) {
          if (parameter.type === 'AssignmentPattern') visit(parameter.right);
        }
        if (node.body) visit(node.body);
      });
    }
    children(node);
  };
  visit(program);
  return { mutants, code: `${apply(source, edits)}\n` };
}

/** The source with its edits, which are nested or apart. */
function apply(source, edits) {
  // Outer ones first where they begin together; what ends first is closed first.
  const render = (from, to) => {
    const within = edits.filter((edit) => edit.again === undefined && edit.start >= from && edit.end <= to);
    let written = '';
    let at = from;
    const outermost = within
      .filter((edit) => !within.some((other) => other !== edit && contains(other, edit, edits)))
      .sort((a, b) => a.start - b.start);
    for (const edit of outermost) {
      written += source.slice(at, edit.start);
      written += edit.whole ?? edit.before + inner(edit) + edit.after;
      at = edit.end;
    }
    return written + source.slice(at, to);
  };
  const inner = (edit) => {
    edits.splice(edits.indexOf(edit), 1);
    const written = render(edit.start, edit.end);
    edits.push(edit);
    return written;
  };
  const again = edits.filter((edit) => edit.again !== undefined);
  let written = render(0, source.length);
  for (const {
    again: { name, start, end },
  } of again) {
    written += `\n__reevaluate(() => { ${name} = ${render(start, end)}; });`;
  }
  return written;
}

function contains(outer, inner, edits) {
  if (outer.start > inner.start || outer.end < inner.end) return false;
  if (outer.start < inner.start || outer.end > inner.end) return true;
  return edits.indexOf(outer) < edits.indexOf(inner);
}

/** The lines that differ, as a reader sees them. */
function change(source, start, end, replacement) {
  const from = source.lastIndexOf('\n', start - 1) + 1;
  const to = (source.indexOf('\n', end) + source.length + 1) % (source.length + 1);
  const lines = (written) =>
    written
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== '');
  const before = lines(source.slice(from, to));
  const after = lines(source.slice(from, start) + replacement + source.slice(end, to));
  while (before.length > 0 && after.length > 0 && before[0] === after[0]) {
    before.shift();
    after.shift();
  }
  while (before.length > 0 && after.length > 0 && before.at(-1) === after.at(-1)) {
    before.pop();
    after.pop();
  }
  return { before, after };
}
