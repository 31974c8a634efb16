type Serializer = (value: unknown) => string
type Compile = (route: { schema?: unknown; method: string; url: string; httpStatus: string }) => Serializer
type Build = (externalSchemas?: unknown, options?: object) => Compile

/**
 * Makes one function for each schema and not one for each route and status: most answers of ours are the same few, and to
 * compile them is a fifth of the proxy's start. What is kept is as much as there are different schemas in this process' code.
 */
export function oncePerSchema(build: Build): Build {
  const kept = new Map<string, Serializer>()
  return (externalSchemas, options) => {
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
}
