import SerializerSelector from '@fastify/fast-json-stringify-compiler'

const build = SerializerSelector()
/** By the schema's text. Not more than there are different schemas in the code of this process. */
const kept = new Map<string, SerializerSelector.Serializer>()

/**
 * Fastify's `schemaController.compilersFactory.buildSerializer`. Makes one function for each schema and not one for each
 * route and status: most answers of ours are the same few, and to compile them is a fifth of the proxy's start.
 */
export function buildSerializer(
  externalSchemas?: unknown,
  options?: SerializerSelector.Options,
): SerializerSelector.SerializerCompiler {
  const compile = build(externalSchemas, options)
  // What a schema refers to may be another thing under the same name.
  if (Object.keys(externalSchemas ?? {}).length > 0) return compile
  return (route) => {
    const text = JSON.stringify(route.schema)
    const made = kept.get(text) ?? compile(route)
    kept.set(text, made)
    return made
  }
}
