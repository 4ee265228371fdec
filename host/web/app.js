// The page: someone logs in, then chats. Start here; the chat itself is in chat.js.

import { startChat } from "./chat.js";
import { currentLogin } from "./identity.js";
import { welcome } from "./login.js";

const NOTICE = "godwit/notice";

const notice = sessionStorage.getItem(NOTICE) ?? "";
sessionStorage.removeItem(NOTICE);
const auth = currentLogin() ?? (await welcome(notice));
const said = await startChat(auth);
// A new document is the surest way to leave nothing of one person to the next.
if (said) sessionStorage.setItem(NOTICE, said);
location.replace(location.pathname);
