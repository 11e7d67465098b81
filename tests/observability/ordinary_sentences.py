"""Ordinary sentences in seven languages, with slots for numbers: none holds a secret."""

# ruff: noqa: RUF001

from __future__ import annotations

SENTENCES = {
    "en": """
Your order {order} was shipped on {iso} and should arrive within {n} days.
The meeting was moved to {slashed} at {time}, in room {n}.
We paid ${price} for {n} tickets, including ${price} in fees.
Version {version} fixes the crash that was introduced in {version}.
Please upgrade from {build} to version {build} before {iso}.
The city had {comma} inhabitants in {year}, and {comma} ten years later.
The book's ISBN is {isbn}; it has {n} chapters.
The trace {thread} took {big} ms, of which {n} ms were spent waiting.
Commit {hash} broke the build; revert to {hash}.
The request id was {uuid}, logged at {stamp}.
Add {n} g of flour, {n} ml of milk and bake at 180 °C for {n} minutes.
The password must be at least 8 characters long.
Password: at least one digit and one capital letter, please.
A token is about four characters of English text.
We used max_tokens={big} and temperature=0.7 for all runs.
Basic information about bearer bonds is on page {n}.
The secret to good bread is patience, and {n} hours of rest.
He ran {n}.4 km in {seconds}, his best time since {year}.
The train leaves at {time} from platform {n} and arrives at {time}.
Latitude {decimal}, longitude -{decimal}, altitude {big} m.
My score went from {big} to {big}, a rise of {percent}%.
It weighs {price} kg and measures {n} x {n} x {n} cm.
Chapter {n}, section 4.2.1.3, explains it in more detail.
The invoice no. {order} over EUR {price} is due on {dotted}.
Set the timeout to {big} ms and retry {n} times.
The server listens on 127.0.0.1:{big} and on localhost:8080.
Use std::vector and a::b, not the old list.
The file is {comma} bytes long; its checksum is {hash}.
Call me tomorrow, around {time}, or after {time}.
The pass rate was {percent}/100 in {year}-{year}.
Follow @django on the site, or install react@18.2.0 from the registry.
Unix time {ms} is in milliseconds, {huge} in seconds.
The hotel has {n} rooms; the phone in room {n} is broken.
Tickets cost 12-15 dollars, ages 6-12 pay half, from 9-5 daily.
token: str = Field(description="what it is") and password: str = ""
api_key=os.environ["MY_KEY"], timeout={n}
""",
    "de": """
Ihre Bestellung {order} wurde am {dotted} verschickt.
Das Treffen ist am {dotted} um {time} Uhr in Raum {n}.
Wir haben {preis} € für {n} Karten bezahlt, dazu {preis} € Gebühren.
Fassung {version} behebt den Fehler aus {version}.
Die Stadt hatte {year} genau {dots} Einwohner, heute sind es {dots}.
Die ISBN des Buches ist {isbn}, es hat {n} Kapitel.
Geöffnet ist von 08.00-12.00 und 14.00-18.00 Uhr, außer am {dotted}.
Der Zug fährt um {time} von Gleis {n} und kommt um {time} an.
Rechnung Nr. {order} über {preis} EUR ist bis {dotted} zu bezahlen.
Das Passwort muss mindestens 8 Zeichen lang sein.
Passwort: mindestens eine Ziffer und ein Großbuchstabe.
Nimm {n} g Mehl, {n} ml Milch und backe es {n} Minuten bei 180 °C.
Er lief {n},4 km in {seconds}, so schnell wie zuletzt {year}.
Die Datei ist {dots} Bytes lang, die Prüfsumme lautet {hash}.
Der Vorgang {uuid} wurde um {seconds} beendet.
Die Spur {thread} dauerte {big} ms.
Der Ölpreis stieg um {percent} % auf {preis} Dollar.
Im Hotel gibt es {n} Zimmer und ein Telefon an der Rezeption.
Abschnitt 4.2.1.3 auf Seite {n} erklärt das genauer.
Die Temperatur fiel von {n} auf -{n} Grad.
Vom {dotted} bis {dotted} sind wir im Urlaub.
Der Umsatz betrug {dots},00 Euro im Jahr {year}.
Artikel {n} Absatz 2 des Gesetzes vom {dotted} gilt weiter.
Breite {decimal}, Länge {decimal}, Höhe {big} m.
Das Paket wiegt {preis} kg und misst {n} x {n} x {n} cm.
Bitte auf {build} aktualisieren, Version {build} ist veraltet.
Aktenzeichen {n} C {big}/24, verkündet am {dotted}.
Die Quote lag bei {percent} zu 100, in {year}/{year}.
Der Commit {hash} ist schuld, zurück zu {hash}.
Zeitstempel {stamp}, Dauer {big} ms.
Ein Token hat ungefähr vier Zeichen, ein Text von {big} Wörtern also mehr.
Die Postleitzahl ist {big}, die Hausnummer {n}.
Das Geheimnis: Geduld und {n} Stunden Ruhe.
Zwischen {n} und {big} liegt die richtige Zahl.
""",
    "fr": """
Votre commande {order} a été expédiée le {slashed}.
La réunion est le {slashed} à {time}, salle {n}.
Nous avons payé {preis} € pour {n} billets, plus {preis} € de frais.
La version {version} corrige l’erreur de la {version}.
La ville comptait {spaced} habitants en {year}, et {spaced} aujourd’hui.
L’ISBN du livre est {isbn} ; il a {n} chapitres.
Le train part à {time} de la voie {n} et arrive à {time}.
La facture n° {order} de {preis} EUR est due le {slashed}.
Le mot de passe doit avoir au moins 8 caractères.
Mot de passe : au moins un chiffre et une majuscule.
Ajoutez {n} g de farine, {n} ml de lait et {n} minutes de cuisson.
Il a couru {n},4 km en {seconds}, son record depuis {year}.
Le fichier fait {spaced} octets, sa somme est {hash}.
La demande {uuid} s’est terminée à {seconds}.
La trace {thread} a duré {big} ms.
Le prix a monté de {percent} % pour atteindre {preis} dollars.
L’hôtel a {n} chambres et un téléphone à l’accueil.
La section 4.2.1.3, page {n}, l’explique mieux.
Du {slashed} au {slashed}, nous sommes en vacances.
Le chiffre d’affaires était de {spaced} euros en {year}.
L’article {n} de la loi du {slashed} reste en vigueur.
Latitude {decimal}, longitude {decimal}, altitude {big} m.
Le colis pèse {preis} kg et mesure {n} x {n} x {n} cm.
Passez à {build}, la version {build} n’est plus suivie.
Le score est de {n} à {n} après {n} minutes.
Le commit {hash} est en cause, revenez à {hash}.
Horodatage {stamp}, durée {big} ms.
Un jeton fait environ quatre lettres, donc {big} mots en font plus.
Le code postal est {big}, au numéro {n}.
Le secret : de la patience et {n} heures de repos.
Il y a {spaced} livres et {spaced} revues dans le fonds.
Le taux était de {percent} sur 100 en {year}-{year}.
Ouvert de 9 h à 12 h et de 14 h à 18 h, sauf le {slashed}.
""",
    "es": """
Su pedido {order} se envió el {slashed}.
La reunión es el {slashed} a las {time}, en la sala {n}.
Pagamos {preis} € por {n} entradas, más {preis} € de gastos.
La versión {version} corrige el error de la {version}.
La ciudad tenía {dots} habitantes en {year} y hoy tiene {dots}.
El ISBN del libro es {isbn} y tiene {n} capítulos.
El tren sale a las {time} de la vía {n} y llega a las {time}.
La factura n.º {order} de {preis} EUR vence el {slashed}.
La contraseña debe tener al menos 8 caracteres.
Contraseña: al menos una cifra y una mayúscula.
Añada {n} g de harina, {n} ml de leche y {n} minutos de horno.
Corrió {n},4 km en {seconds}, su marca desde {year}.
El archivo ocupa {dots} bytes y su suma es {hash}.
La petición {uuid} terminó a las {seconds}.
La traza {thread} duró {big} ms.
El precio subió un {percent} % hasta {preis} dólares.
El hotel tiene {n} habitaciones y un teléfono en la recepción.
La sección 4.2.1.3, página {n}, lo explica mejor.
Del {slashed} al {slashed} estamos de vacaciones.
La facturación fue de {dots} euros en {year}.
El artículo {n} de la ley del {slashed} sigue vigente.
Latitud {decimal}, longitud {decimal}, altitud {big} m.
El paquete pesa {preis} kg y mide {n} x {n} x {n} cm.
Actualice a {build}, la versión {build} ya no se mantiene.
El resultado es {n} a {n} tras {n} minutos.
El commit {hash} es el culpable, vuelva a {hash}.
Marca de tiempo {stamp}, duración {big} ms.
Un token son unas cuatro letras, así que {big} palabras son más.
El código postal es {big}, en el número {n}.
El secreto: paciencia y {n} horas de reposo.
Abierto de 9:00 a 14:00 y de 17:00 a 20:30, menos el {slashed}.
El índice fue de {percent} sobre 100 en {year}-{year}.
Hay {spaced} libros y {spaced} revistas en el fondo.
""",
    "pt": """
O seu pedido {order} foi enviado em {slashed}.
A reunião é em {slashed} às {time}, na sala {n}.
Pagámos {preis} € por {n} bilhetes, mais {preis} € de taxas.
A versão {version} corrige o erro da {version}.
A cidade tinha {dots} habitantes em {year} e hoje tem {dots}.
O ISBN do livro é {isbn} e tem {n} capítulos.
O comboio parte às {time} da linha {n} e chega às {time}.
A fatura n.º {order} de R$ {preis} vence em {slashed}.
A senha deve ter pelo menos 8 caracteres.
Senha: pelo menos um algarismo e uma maiúscula.
Junte {n} g de farinha, {n} ml de leite e {n} minutos de forno.
Correu {n},4 km em {seconds}, o melhor tempo desde {year}.
O ficheiro tem {dots} bytes e a soma é {hash}.
O pedido {uuid} terminou às {seconds}.
O rasto {thread} durou {big} ms.
O preço subiu {percent} % para {preis} dólares.
O hotel tem {n} quartos e um telefone na receção.
A secção 4.2.1.3, página {n}, explica melhor.
De {slashed} a {slashed} estamos de férias.
A faturação foi de R$ {dots},00 em {year}.
O artigo {n} da lei de {slashed} continua em vigor.
Latitude {decimal}, longitude {decimal}, altitude {big} m.
A encomenda pesa {preis} kg e mede {n} x {n} x {n} cm.
Atualize para {build}, a versão {build} já não é mantida.
O resultado é {n} a {n} após {n} minutos.
O commit {hash} é o culpado, volte a {hash}.
Carimbo {stamp}, duração {big} ms.
Um token são umas quatro letras, logo {big} palavras são mais.
O código postal é {big}, no número {n}.
O segredo: paciência e {n} horas de descanso.
Aberto das 9h às 12h e das 14h às 18h, exceto em {slashed}.
O índice foi de {percent} em 100 em {year}-{year}.
Há {spaced} livros e {spaced} revistas no acervo.
""",
    "ja": """
ご注文{order}は{iso}に発送されました。
会議は{year}年{n}月、{time}から第{n}会議室です。
チケット{n}枚で{comma}円、手数料は{n}円でした。
バージョン{version}で{version}の不具合を直しました。
この町の人口は{year}年に{comma}人、今は{comma}人です。
この本のISBNは{isbn}で、全{n}章です。
電車は{time}に{n}番線から出て、{time}に着きます。
請求書番号{order}、金額{comma}円、期限は{iso}です。
パスワードは8文字以上にしてください。
パスワード：8文字以上、数字を一つ含めること。
小麦粉{n}グラムと牛乳{n}ミリリットルを混ぜ、{n}分焼きます。
{n}.4キロを{seconds}で走り、{year}年以来の記録です。
ファイルは{comma}バイト、チェックサムは{hash}です。
リクエスト{uuid}は{seconds}に終わりました。
トレース{thread}は{big}ミリ秒かかりました。
価格は{percent}％上がって{price}ドルになりました。
ホテルには{n}室あり、受付に電話があります。
詳しくは{n}ページの4.2.1.3節をご覧ください。
{iso}から{iso}まで休みます。
{year}年の売上は{comma}円でした。
緯度{decimal}、経度{decimal}、標高{big}メートル。
荷物は{price}キロ、大きさは{n}×{n}×{n}センチです。
{build}に更新してください。バージョン{build}は古いです。
試合は{n}対{n}、{n}分で終わりました。
コミット{hash}が原因なので{hash}に戻します。
時刻{stamp}、所要時間{big}ミリ秒。
トークンはおよそ四文字、{big}語ならもっと多いです。
郵便番号は{n}1-{big}、{n}番地です。
秘密は忍耐と{n}時間の休みです。
営業時間は9:00〜12:00と14:00〜18:00です。
２０２６年１１月２２日の気温は１８度でした。
{year}年度の割合は{percent}／１００でした。
価格@100.5円の株を{n}株買いました。
""",
    "ar": """
تم شحن طلبك {order} في {slashed}.
الاجتماع يوم {slashed} الساعة {time} في القاعة {n}.
دفعنا {price} دولارا مقابل {n} تذكرة.
الإصدار {version} يصلح خطأ الإصدار {version}.
كان عدد سكان المدينة {comma} نسمة عام {year}.
الرقم الدولي للكتاب ISBN {isbn} وفيه {n} فصلا.
يغادر القطار الساعة {time} من الرصيف {n} ويصل {time}.
الفاتورة {order} بمبلغ {price} تستحق في {slashed}.
يجب أن تتكون كلمة المرور من 8 أحرف على الأقل.
كلمة المرور: حرف كبير ورقم واحد على الأقل.
أضف {n} غراما من الدقيق و{n} مل من الحليب واخبز {n} دقيقة.
ركض {n}.4 كم في {seconds} وهو أفضل وقت منذ {year}.
حجم الملف {comma} بايت ومجموعه {hash}.
انتهى الطلب {uuid} في {seconds}.
استغرق الأثر {thread} مدة {big} مللي ثانية.
ارتفع السعر {percent}% إلى {price} دولارا.
في الفندق {n} غرفة وهاتف في الاستقبال.
القسم 4.2.1.3 في الصفحة {n} يشرح ذلك.
من {slashed} إلى {slashed} نحن في إجازة.
كانت المبيعات {comma} ريال عام {year}.
المادة {n} من القانون الصادر في {slashed} سارية.
خط العرض {decimal} وخط الطول {decimal} والارتفاع {big} م.
وزن الطرد {price} كغ وأبعاده {n} × {n} × {n} سم.
حدث إلى {build} فالإصدار {build} قديم.
النتيجة {n} مقابل {n} بعد {n} دقيقة.
السبب هو {hash} فارجع إلى {hash}.
الوقت {stamp} والمدة {big} مللي ثانية.
الرمز البريدي {big} والمبنى {n}.
السر: الصبر و{n} ساعات من الراحة.
الرقم الصحيح بين {n} و{big}.
في ٢٢/١١/٢٠٢٦ كانت الحرارة ١٨ درجة.
عدد الصفحات ٣٤٥ والثمن ٢٩٫٩٩ ريال.
النسبة {percent} من 100 في {year}-{year}.
""",
}
