interface Write {
  (context: object, message: string): void
  (message: string): void
}

/** What is used of Fastify's logger. */
export interface Log {
  debug: Write
  info: Write
  warn: Write
  error: Write
  /** One whose every line says this too. */
  child(fields: object): Log
}
