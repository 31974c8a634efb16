/** What the web service answers to a small request. */
export const SMALL_ANSWER = Buffer.from(JSON.stringify({ answer: 'x'.repeat(100) }))
