// A resource driver in JavaScript: a host name under a domain.

import { toText } from 'windlass:driver/sealed@0.1.0';

/** Writes a schema as `describe` wants it. */
const schema = (properties, required = []) =>
  JSON.stringify({
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    type: 'object',
    properties,
    required,
    additionalProperties: false,
  });

/** Says what is wrong with what a resource asks for. */
const refuse = (code, message, pointer, hint) => {
  throw [{ severity: 'error', code, message, pointer, hint }];
};

export const resourceDefinition = {
  describe: () => ({
    summary: 'a host name under a domain',
    // Marked, a field may hold a value that is known only later.
    inputsSchema: schema({ domain: { type: 'string', 'x-windlass-sealed': true } }, ['domain']),
    paramsSchema: schema({ label: { type: 'string' } }),
    outputsSchema: schema({ host: { type: 'string', 'x-windlass-sealed': true } }, ['host']),
  }),

  define({ context, key, params, inputs }) {
    const { label = key.id.replaceAll('.', '-') } = JSON.parse(params);
    if (!/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(label)) {
      refuse('bad-label', `\`${label}\` is no label of a host name`, '/params/label', 'letters, digits and dashes, none of them at an end');
    }
    const { domain } = JSON.parse(inputs);
    // Such a value is passed on, never read.
    return { outputs: JSON.stringify({ host: `${label}.${context.environment}.${toText(domain)}` }), warnings: [] };
  },
};
