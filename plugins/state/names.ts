const NAMESPACE = /^[a-z][a-z0-9-]*$/

/** What begins all names of a namespace. @throws {RangeError} for what is none */
export function startOf(namespace: string): string {
  if (!NAMESPACE.test(namespace)) throw new RangeError(`"${namespace}" is not a namespace (${NAMESPACE})`)
  return `${namespace}!`
}

/** One name for a namespace and a key, which no other pair has. @throws {RangeError} */
export function nameOf(namespace: string, key: string): string {
  if (key === '') throw new RangeError('a record needs a key')
  return startOf(namespace) + key
}
