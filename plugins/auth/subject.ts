/**
 * A user's id: it stands in paths of state, logs, key comments and authorized_keys, and two that look alike must not be
 * two users. So it is ASCII, has no blank, slash, quote or other character with a meaning elsewhere, and does not begin
 * with a dot. Subjects of the usual issuers (UUIDs, mail addresses, `auth0|…`, base64url) fit.
 */
const SUBJECT = /^[\w@|+=:~-][\w.@|+=:~-]{0,127}$/

export const SUBJECT_RULE =
  'a user id has 1 to 128 letters, digits and ". _ - @ | + = : ~", and does not begin with "."'

export function isSubject(value: unknown): value is string {
  return typeof value === 'string' && SUBJECT.test(value)
}

/** The user id for an account of a system, whose names may hold more (`DOMAIN\\ada`, blanks). */
export function subjectOf(account: string): string {
  return account
    .replaceAll(/[^\w.@|+=:~-]/g, '-')
    .replace(/^\./, '-')
    .slice(0, 128)
}
